/*
 * Making a stopped thread execute system calls.
 *
 * The instruction is one of a lifeline, which brings the thread back where it was if we die: no
 * code of the program is changed. A thread that could not be brought back so is left alone.
 * Signals are blocked meanwhile: a handler must not run on registers that are not the program's.
 * Those that an instruction itself raises are not: the kernel would take a handler away that it
 * cannot run at once. None of ours raises one, if all is as it seems. The thread is let run from
 * system call stop to system call stop, not stepped: a single step ends with a forced SIGTRAP,
 * which would reset a program's own handler for it. At the end it is interrupted: only after a stop
 * of that kind does the kernel restart the system call that the very first interrupt had cut short.
 * On arm64 it has turned the thread back to that call before we see it, and a call with a time
 * limit (a sleep, a poll) then begins anew with all of it.
 *
 * Each stop costs two changes of thread, which is most of the time that this takes. So there are
 * no more than needed, several threads are let run before one of them is waited for, and our own
 * SIGCHLD is blocked, or its handler would run for each of them.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"

enum {
	LOOKS = 100,
	RSEQ_SECTION_OFFSET = 8, /* of rseq_cs in struct rseq: rseq(2) */
	VDSO_BYTES = 4 * 4096,	 /* of it are looked at */
};

static int request(enum __ptrace_request what, int tid, uintptr_t address, void *data,
		   const char *name, struct tm_error *error)
{
	if (ptrace(what, tid, (void *)address, data) < 0)
		return tm_fail_on(error, tid, "%s", name);
	return TM_OK;
}

static int get_registers(int tid, struct tm_registers *ret, struct tm_error *error)
{
	struct iovec vector = {.iov_base = ret, .iov_len = sizeof(*ret)};
	int code = request(PTRACE_GETREGSET, tid, NT_PRSTATUS, &vector, "PTRACE_GETREGSET", error);

	if (code == TM_OK && vector.iov_len != sizeof(*ret))
		return tm_fail(error, TM_UNSUPPORTED, "thread %d runs 32-bit code", tid);
	return code;
}

static int set_registers(int tid, struct tm_registers *registers, struct tm_error *error)
{
	struct iovec vector = {.iov_base = registers, .iov_len = sizeof(*registers)};

	return request(PTRACE_SETREGSET, tid, NT_PRSTATUS, &vector, "PTRACE_SETREGSET", error);
}

/*
 * A thread that was stopped within a restartable sequence must be sent to its abort
 * handler when it runs on. The kernel forgets the sequence when it sees the thread outside
 * of it, as it does during our calls: so it is remembered here and put back.
 */
static void save_restartable_sequence(struct tm_injection *injection)
{
#ifdef PTRACE_GET_RSEQ_CONFIGURATION
	struct __ptrace_rseq_configuration rseq = {0};

	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, injection->tid, sizeof(rseq), &rseq) < 0 ||
	    rseq.rseq_abi_pointer == 0)
		return;
	injection->rseq_pointer = rseq.rseq_abi_pointer + RSEQ_SECTION_OFFSET;
	if (tm_memory_read(injection->tid, injection->rseq_pointer, &injection->rseq_section,
			   sizeof(injection->rseq_section)) != sizeof(injection->rseq_section))
		injection->rseq_section = 0;
#else
	(void)injection;
#endif
}

static void restore_restartable_sequence(const struct tm_injection *injection)
{
	uint64_t section = injection->rseq_section;
	struct iovec local = {.iov_base = &section, .iov_len = sizeof(section)};
	struct iovec remote = {.iov_base = (void *)(uintptr_t)injection->rseq_pointer,
			       .iov_len = sizeof(section)};

	if (section)
		(void)process_vm_writev(injection->tid, &local, 1, &remote, 1, 0);
}

/* Where a thread that was stopped within a restartable sequence goes on, 0 if it was not. */
static uint64_t abort_address(const struct tm_injection *injection)
{
	struct {
		uint32_t version, flags;
		uint64_t start, length, abort;
	} section; /* struct rseq_cs of rseq(2) */
	uint64_t at = tm_registers_instruction(&injection->registers);

	if (!injection->rseq_section ||
	    tm_memory_read(injection->tid, injection->rseq_section, &section, sizeof(section)) !=
		    sizeof(section))
		return 0;
	return at - section.start < section.length ? section.abort : 0;
}

/*
 * A filter of system calls (seccomp) is suspended while we make ours. If we die before the end of
 * one, the kernel has it back, and the thread makes the rest of the calls of its lifeline under it.
 */
static int pass_filters(struct tm_injection *injection, struct tm_error *error)
{
	static const long calls[] = {SYS_rt_sigprocmask, SYS_close, SYS_munmap, SYS_userfaultfd};
	long options = tm_ptrace_options(injection->options) | PTRACE_O_SUSPEND_SECCOMP;
	int tid = injection->tid;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		enum tm_filter_verdict verdict = tm_filter_judge(tid, calls[i]);

		if (verdict == TM_FILTER_DEADLY ||
		    (verdict == TM_FILTER_DENIES && calls[i] != SYS_userfaultfd))
			return tm_fail(error, TM_UNSUPPORTED,
				       "thread %d may not make our system calls (seccomp)", tid);
		if (verdict == TM_FILTER_NONE)
			break;
	}
	/* It takes less time to suspend what is not there than to look for it. */
	injection->filtered = ptrace(PTRACE_SETOPTIONS, tid, NULL, options) == 0;
	if (injection->filtered || tm_status_number(tid, "Seccomp") == 0)
		return TM_OK;
	return tm_fail(error, TM_UNSUPPORTED,
		       "process %d filters its system calls (seccomp), which only root may suspend",
		       tid);
}

/* A thread in strict mode (seccomp) has no filters; it stands in one of a few calls, or in none. */
static int check_strict(const struct tm_injection *injection, struct tm_error *error)
{
	int64_t number = tm_registers_number(&injection->registers);

	if (number > SYS_write || tm_status_number(injection->tid, "Seccomp") != 1)
		return TM_OK;
	return tm_fail(error, TM_UNSUPPORTED, "thread %d may not make our system calls (seccomp)",
		       injection->tid);
}

/* What a program has its system calls dispatched by (Syscall User Dispatch), as ptrace(2) tells it.
 */
struct dispatch {
	uint64_t mode;
	uint64_t selector;
	uint64_t offset;
	uint64_t length;
};

enum { GET_DISPATCH = 0x4211 /* PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, Linux 6.4 */ };

/* Our calls would be dispatched to the program; and so would be those of a lifeline. */
static int check_dispatch(const struct tm_injection *injection, struct tm_error *error)
{
	struct dispatch dispatch = {0};

	if (ptrace((enum __ptrace_request)GET_DISPATCH, injection->tid, sizeof(dispatch),
		   &dispatch) < 0 ||
	    dispatch.mode == 0)
		return TM_OK;
	return tm_fail(error, TM_UNSUPPORTED,
		       "thread %d dispatches its system calls (Syscall User Dispatch)",
		       injection->tid);
}

/* On other processors there is no lifeline, and the vDSO's own instruction is used. */
static bool find_instruction(const struct tm_text *code, void *context)
{
	static const unsigned char instruction[] = TM_SYSCALL_INSTRUCTION;
	struct tm_injection *injection = context;
	unsigned char content[VDSO_BYTES];
	const unsigned char *found;
	ssize_t size = (ssize_t)(code->end - code->start);

	if (!code->vdso)
		return false;
	if ((size_t)size > sizeof(content))
		size = sizeof(content);
	size = tm_memory_read(injection->tid, code->start, content, (size_t)size);
	found = size > 0 ? memmem(content, (size_t)size, instruction, sizeof(instruction)) : NULL;
	injection->instruction = found ? code->start + (uint64_t)(found - content) : 0;
	return found != NULL;
}

static int prepare(struct tm_injection *injection, struct tm_error *error)
{
	int tid = injection->tid;
	int code = get_registers(tid, &injection->registers, error);

	if (code == TM_OK)
		code = request(PTRACE_GETSIGMASK, tid, sizeof(injection->signal_mask),
			       &injection->signal_mask, "PTRACE_GETSIGMASK", error);
	if (code == TM_OK)
		code = check_dispatch(injection, error);
	if (code == TM_OK)
		code = check_strict(injection, error);
	if (code == TM_OK)
		code = pass_filters(injection, error);
	if (code == TM_OK)
		save_restartable_sequence(injection);
	return code;
}

/* Sets the thread on its way back, should we die: before anything of it is changed. */
static int secure(struct tm_injection *injection, struct tm_error *error)
{
	const struct tm_lifeline_target target = {.tid = injection->tid,
						  .registers = &injection->registers,
						  .signal_mask = injection->signal_mask,
						  .abort_address = abort_address(injection)};
	struct tm_registers registers = injection->registers;
	int code = tm_lifeline_begin(&injection->lifeline, &target, error);
	uint64_t back = tm_lifeline_back_address(&injection->lifeline);

	if (code != TM_OK)
		return code;
	if (!back && !tm_text_find(injection->tid, find_instruction, injection))
		return tm_fail(error, TM_UNSUPPORTED,
			       "no system call instruction in the vDSO of %d", injection->tid);
	if (!back)
		return TM_OK;
	tm_registers_go(&registers, back);
	return set_registers(injection->tid, &registers, error);
}

/* The signals that an instruction raises. */
static const int raised[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};

/* The signals to block: all but those that an instruction raises, which are as they were. */
static uint64_t quiet_mask(uint64_t before)
{
	uint64_t mask = ~0ULL;

	for (size_t i = 0; i < sizeof(raised) / sizeof(raised[0]); i++)
		mask &= before | ~(1ULL << (raised[i] - 1));
	return mask;
}

static void hold_our_signals(struct tm_injection *injection)
{
	sigset_t children;

	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &children, &injection->our_signals);
}

int tm_injection_begin(struct tm_injection *injection, struct tm_stopped thread,
		       struct tm_error *error)
{
	uint64_t quiet;
	int code;

	*injection = (struct tm_injection){
		.tid = thread.tid, .options = thread.options, .lifeline.memory = -1};
	code = prepare(injection, error);
	if (code != TM_OK)
		return code;
	hold_our_signals(injection);
	injection->begun = true;
	code = secure(injection, error);
	quiet = quiet_mask(injection->signal_mask);
	if (code == TM_OK)
		code = request(PTRACE_SETSIGMASK, thread.tid, sizeof(quiet), &quiet,
			       "PTRACE_SETSIGMASK", error);
	if (code != TM_OK) {
		tm_injection_end(injection);
		injection->begun = false;
	}
	return code;
}

static int resume(const struct tm_injection *injection, enum __ptrace_request what,
		  struct tm_error *error)
{
	return request(what, injection->tid, 0, NULL, "resume for a system call", error);
}

/* Whether a signal that is about to be received comes of what the thread itself has just done. */
static bool is_raised(int tid)
{
	siginfo_t info = {0};
	bool found = false;

	if (ptrace(PTRACE_GETSIGINFO, tid, NULL, &info) < 0 || info.si_code <= 0)
		return false; /* it was sent */
	for (size_t i = 0; i < sizeof(raised) / sizeof(raised[0]); i++)
		found = found || info.si_signo == raised[i];
	return found;
}

/* Keeps a signal that arrives for the end; one that our own call has raised ends it. */
static int hold_signal(struct tm_injection *injection, const struct tm_event *event,
		       struct tm_error *error)
{
	if (event->kind != TM_EVENT_SIGNAL)
		return TM_OK;
	if (is_raised(injection->tid))
		return tm_fail(error, TM_UNSUPPORTED, "a system call in thread %d raises signal %d",
			       injection->tid, event->signal);
	injection->held_signals |= 1ULL << (event->signal - 1);
	return TM_OK;
}

/* Waits until the thread, which was resumed, stands with an event of the kind `wanted`. */
static int await(struct tm_injection *injection, enum __ptrace_request what, int wanted,
		 struct tm_error *error)
{
	for (;;) {
		struct tm_event event = {.kind = TM_EVENT_NONE};
		int code = TM_OK;

		/* It stops within microseconds: to sleep and be woken up takes longer than that. */
		for (int i = 0; i < LOOKS && code == TM_OK && event.kind == TM_EVENT_NONE; i++)
			code = tm_tracee_wait(injection->tid, i == LOOKS - 1, &event, error);
		if (code != TM_OK || event.kind == wanted)
			return code;
		if (event.kind == TM_EVENT_ENDED || event.kind == TM_EVENT_EXITING) {
			tm_fail(error, TM_GONE, "ended within a system call of ours");
			error->pid = injection->tid;
			return TM_GONE;
		}
		code = hold_signal(injection, &event, error);
		if (code == TM_OK)
			code = resume(injection, what, error);
		if (code != TM_OK)
			return code;
	}
}

typedef int call_step(struct tm_injection *injection, const struct tm_call *call,
		      struct tm_error *error);

static int go(struct tm_injection *injection, const struct tm_call *call, struct tm_error *error)
{
	struct tm_registers registers = injection->registers;
	uint64_t instruction = tm_lifeline_call(&injection->lifeline, call->undo);
	int code;

	tm_registers_call(&registers, instruction ? instruction : injection->instruction,
			  call->number, call->arguments);
	code = set_registers(injection->tid, &registers, error);
	return code == TM_OK ? resume(injection, PTRACE_SYSCALL, error) : code;
}

static int enter(struct tm_injection *injection, const struct tm_call *call, struct tm_error *error)
{
	int code = await(injection, PTRACE_SYSCALL, TM_EVENT_SYSCALL, error);

	(void)call;
	return code == TM_OK ? resume(injection, PTRACE_SYSCALL, error) : code;
}

static int finish(struct tm_injection *injection, const struct tm_call *call,
		  struct tm_error *error)
{
	struct tm_registers registers;
	int code = await(injection, PTRACE_SYSCALL, TM_EVENT_SYSCALL, error);

	(void)call;
	injection->called = injection->called || code == TM_OK;
	if (code == TM_OK)
		code = get_registers(injection->tid, &registers, error);
	if (code == TM_OK)
		injection->result = tm_registers_result(&registers);
	return code;
}

void tm_injections_call(struct tm_injection *injections, size_t count, const struct tm_call *calls)
{
	static call_step *const steps[] = {go, enter, finish};

	for (size_t step = 0; step < sizeof(steps) / sizeof(steps[0]); step++)
		for (size_t i = 0; i < count; i++)
			if (injections[i].code == TM_OK)
				injections[i].code = steps[step](&injections[i], &calls[i],
								 &injections[i].error);
}

int tm_injection_call(struct tm_injection *injection, const struct tm_call *call, int64_t *ret,
		      struct tm_error *error)
{
	int code;

	tm_injections_call(injection, 1, call);
	code = injection->code;
	injection->code = TM_OK;
	*ret = injection->result;
	if (code != TM_OK)
		*error = injection->error;
	return code;
}

/* Sends a thread from the end of a call of ours to a stop of the kind that it stood in before. */
static void stop_again(struct tm_injection *injection)
{
	struct tm_error ignored; /* it may have been killed */

	injection->called = injection->called &&
			    tm_tracee_interrupt(injection->tid, &ignored) == TM_OK &&
			    resume(injection, PTRACE_CONT, &ignored) == TM_OK;
}

static void put_back(struct tm_injection *injection)
{
	struct tm_error ignored; /* a thread that was killed meanwhile has nothing to put back */

	if (injection->called)
		(void)await(injection, PTRACE_CONT, TM_EVENT_STOPPED, &ignored);
	restore_restartable_sequence(injection);
	/* The registers last: without them the thread would take the lifeline. */
	(void)request(PTRACE_SETSIGMASK, injection->tid, sizeof(injection->signal_mask),
		      &injection->signal_mask, "PTRACE_SETSIGMASK", &ignored);
	(void)set_registers(injection->tid, &injection->registers, &ignored);
	tm_lifeline_end(&injection->lifeline);
	if (injection->filtered)
		(void)ptrace(PTRACE_SETOPTIONS, injection->tid, NULL,
			     tm_ptrace_options(injection->options));
	for (int signal = 1; injection->held_signals >> (signal - 1); signal++)
		if (injection->held_signals >> (signal - 1) & 1)
			(void)syscall(SYS_tkill, injection->tid, signal);
	pthread_sigmask(SIG_SETMASK, &injection->our_signals, NULL);
}

void tm_injections_end(struct tm_injection *injections, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (injections[i].begun)
			stop_again(&injections[i]);
	/* Backwards: the first one knows what signals we blocked before all of them. */
	for (size_t i = count; i > 0; i--)
		if (injections[i - 1].begun)
			put_back(&injections[i - 1]);
}

void tm_injection_end(struct tm_injection *injection)
{
	tm_injections_end(injection, 1);
}

int tm_tracee_syscall(struct tm_stopped thread, long number, const uint64_t arguments[6],
		      int64_t *ret, struct tm_error *error)
{
	struct tm_call call = {.number = number, .undo.number = -1};
	struct tm_injection injection;
	int code = tm_injection_begin(&injection, thread, error);

	if (code != TM_OK)
		return code;
	memcpy(call.arguments, arguments, sizeof(call.arguments));
	code = tm_injection_call(&injection, &call, ret, error);
	tm_injection_end(&injection);
	return code;
}
