/*
 * Threads under ptrace: seize, stop, follow. All requests must come from the thread that
 * seized: ptrace(2).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"

static const long follow_options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
				   PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXEC |
				   PTRACE_O_TRACEEXIT | PTRACE_O_TRACESYSGOOD;

static int request(enum __ptrace_request what, int tid, void *address, void *data, const char *name,
		   struct tm_error *error)
{
	if (ptrace(what, tid, address, data) < 0)
		return tm_fail_on(error, tid, "%s", name);
	return TM_OK;
}

long tm_ptrace_options(int options)
{
	return (options & TM_SEIZE_FOLLOW ? follow_options : PTRACE_O_TRACESYSGOOD) |
	       (options & TM_SEIZE_KILL_WITH_TRACER ? PTRACE_O_EXITKILL : 0);
}

int tm_tracee_seize(int tid, int options, struct tm_error *error)
{
	int tracer;

	if (ptrace(PTRACE_SEIZE, tid, NULL, tm_ptrace_options(options)) == 0)
		return TM_OK;
	/* EPERM means both "not allowed" and "already traced". */
	tracer = errno == EPERM ? tm_status_number(tid, "TracerPid") : 0;
	if (tracer == 0)
		return tm_fail_on(error, tid, "PTRACE_SEIZE");
	tm_fail(error, TM_TRACED, "PTRACE_SEIZE: traced by process %d", tracer);
	error->pid = tid;
	return TM_TRACED;
}

int tm_tracee_interrupt(int tid, struct tm_error *error)
{
	return request(PTRACE_INTERRUPT, tid, NULL, NULL, "PTRACE_INTERRUPT", error);
}

int tm_tracee_continue(int tid, int signal, struct tm_error *error)
{
	return request(PTRACE_CONT, tid, NULL, (void *)(long)signal, "PTRACE_CONT", error);
}

int tm_tracee_listen(int tid, struct tm_error *error)
{
	return request(PTRACE_LISTEN, tid, NULL, NULL, "PTRACE_LISTEN", error);
}

int tm_tracee_detach(int tid, int signal, struct tm_error *error)
{
	return request(PTRACE_DETACH, tid, NULL, (void *)(long)signal, "PTRACE_DETACH", error);
}

/* What the kernel added to a PTRACE_EVENT stop: a thread id or an exit status. */
static unsigned long event_message(int tid)
{
	unsigned long message = 0;

	/* A thread that was killed meanwhile has none; its end is reported next. */
	(void)ptrace(PTRACE_GETEVENTMSG, tid, NULL, &message);
	return message;
}

static void decode_ptrace_event(int event, int signal, struct tm_event *ret)
{
	switch (event) {
	case PTRACE_EVENT_STOP:
		ret->kind = TM_EVENT_STOPPED;
		ret->signal = signal == SIGTRAP ? 0 : signal;
		break;
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_CLONE:
		ret->kind = TM_EVENT_CHILD;
		ret->child = (int)event_message(ret->tid);
		break;
	case PTRACE_EVENT_VFORK:
		ret->kind = TM_EVENT_VFORK;
		ret->child = (int)event_message(ret->tid);
		break;
	case PTRACE_EVENT_VFORK_DONE:
		ret->kind = TM_EVENT_VFORK_DONE;
		break;
	case PTRACE_EVENT_EXEC:
		ret->kind = TM_EVENT_EXEC;
		ret->child = (int)event_message(ret->tid);
		break;
	case PTRACE_EVENT_EXIT:
		ret->kind = TM_EVENT_EXITING;
		ret->exit_code = (int)event_message(ret->tid);
		break;
	default:
		ret->kind = TM_EVENT_OTHER;
	}
}

static void decode(int tid, int status, struct tm_event *ret)
{
	ret->tid = tid;
	if (WIFEXITED(status) || WIFSIGNALED(status)) {
		ret->kind = TM_EVENT_ENDED;
		ret->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
		ret->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	} else if (status >> 16) {
		decode_ptrace_event(status >> 16, WSTOPSIG(status), ret);
	} else if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
		ret->kind = TM_EVENT_SYSCALL;
	} else {
		ret->kind = TM_EVENT_SIGNAL;
		ret->signal = WSTOPSIG(status);
	}
}

/* Whether an event is one at which a system call may have been ended that is to be made again. */
static bool ends_calls(const struct tm_event *event)
{
	switch (event->signal) {
	case SIGSTOP:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
	case SIGCONT:
		return false; /* these end it without us, too */
	default:
		return event->kind == TM_EVENT_SIGNAL || event->kind == TM_EVENT_STOPPED;
	}
}

int tm_tracee_wait(int tid, int how, struct tm_event *ret, struct tm_error *error)
{
	struct tm_error ignored; /* it may have been killed meanwhile, which is reported next */
	int status;
	pid_t got;

	memset(ret, 0, sizeof(*ret));
	do
		got = waitpid(tid > 0 ? tid : -1, &status,
			      __WALL | (how & TM_WAIT_BLOCK ? 0 : WNOHANG));
	while (got < 0 && errno == EINTR);
	if (got < 0 && errno == ECHILD && tid <= 0)
		return TM_OK; /* no tracee is left: nothing can happen */
	if (got < 0)
		return tm_fail_on(error, tid, "waitpid");
	if (got > 0)
		decode(got, status, ret);
	if (how & TM_WAIT_MEND && ends_calls(ret))
		(void)tm_tracee_mend_call(got, ret, &ignored);
	return TM_OK;
}
