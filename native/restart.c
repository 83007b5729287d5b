/*
 * System calls that end because their thread was stopped, as they do after SIGSTOP and SIGCONT:
 * signal(7), "Interruption of system calls by stop signals". The kernel makes most of them again.
 * Of some it does not, though they would have waited for ever; these are made to be so here: with
 * the result of one that is made again unless the handler of a signal runs (ERESTARTNOHAND). So a
 * signal that has come meanwhile ends it as ever, and the kernel itself decides which.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"

#if defined(__x86_64__)

/* How a call tells that it has no time limit. */
enum limit {
	NEVER_LIMITED,
	NULL_POINTER,	  /* its argument is one */
	NEGATIVE,	  /* its argument is, as a number of 32 bits */
	SEMAPHORE_ACTION, /* ipc(2): semop, or semtimedop without a time */
	RING,		  /* io_uring_enter(2): flags, and what is behind a pointer */
};

struct waiting_call {
	long number;
	enum limit limit;
	int argument; /* from 0 on */
};

enum { X32_BIT = 0x40000000 };

static const struct waiting_call native[] = {
	{SYS_epoll_wait, NEGATIVE, 3},
	{SYS_epoll_pwait, NEGATIVE, 3},
	{441 /* epoll_pwait2 */, NULL_POINTER, 3},
	{SYS_semop, NEVER_LIMITED, 0},
	{SYS_semtimedop, NULL_POINTER, 3},
	{SYS_rt_sigtimedwait, NULL_POINTER, 2},
	{SYS_io_getevents, NULL_POINTER, 4},
	{333 /* io_pgetevents */, NULL_POINTER, 4},
	{426 /* io_uring_enter */, RING, 3},
};

static const struct waiting_call of_32_bits[] = {
	{256 /* epoll_wait */, NEGATIVE, 3},
	{319 /* epoll_pwait */, NEGATIVE, 3},
	{441 /* epoll_pwait2 */, NULL_POINTER, 3},
	{117 /* ipc */, SEMAPHORE_ACTION, 0},
	{420 /* semtimedop_time64 */, NULL_POINTER, 3},
	{177 /* rt_sigtimedwait */, NULL_POINTER, 2},
	{421 /* rt_sigtimedwait_time64 */, NULL_POINTER, 2},
	{247 /* io_getevents */, NULL_POINTER, 4},
	{385 /* io_pgetevents */, NULL_POINTER, 4},
	{416 /* io_pgetevents_time64 */, NULL_POINTER, 4},
	{426 /* io_uring_enter */, RING, 3},
};

/* A system call that has ended, or will be made again, and what it was asked. */
struct ended_call {
	int tid;
	long number;
	bool of_32_bits;
	uint64_t arguments[6];
	int64_t result;
};

/* The time that io_uring_enter(2) may have been given, behind a pointer. */
struct ring_argument {
	uint64_t signals;
	uint32_t signals_size;
	uint32_t least_microseconds;
	uint64_t time;
};

static bool ring_waits_for_ever(const struct ended_call *call)
{
	enum { GETS_EVENTS = 1, HAS_ARGUMENT = 8, REGISTERED_ARGUMENT = 64 };
	struct ring_argument argument;
	uint64_t flags = call->arguments[3];

	if (!(flags & GETS_EVENTS) || flags & REGISTERED_ARGUMENT)
		return false;
	if (!(flags & HAS_ARGUMENT))
		return true;
	return tm_memory_read(call->tid, call->arguments[4], &argument, sizeof(argument)) ==
		       sizeof(argument) &&
	       argument.time == 0 && argument.least_microseconds == 0;
}

static bool waits_for_ever(const struct ended_call *call, const struct waiting_call *known)
{
	enum { SEMOP = 1, SEMTIMEDOP = 4, TIME_OF_IPC = 5 };
	uint64_t argument = call->arguments[known->argument];

	switch (known->limit) {
	case NEVER_LIMITED:
		return true;
	case NULL_POINTER:
		return argument == 0;
	case NEGATIVE:
		return (int32_t)argument < 0;
	case SEMAPHORE_ACTION:
		return (argument & 0xffff) == SEMOP ||
		       ((argument & 0xffff) == SEMTIMEDOP && call->arguments[TIME_OF_IPC] == 0);
	default:
		return ring_waits_for_ever(call);
	}
}

/* Whether a call that a stop has ended was to wait until something comes, however long. */
static bool is_to_wait(const struct ended_call *call)
{
	const struct waiting_call *known = call->of_32_bits ? of_32_bits : native;
	size_t count = call->of_32_bits ? sizeof(of_32_bits) / sizeof(of_32_bits[0])
					: sizeof(native) / sizeof(native[0]);

	for (size_t i = 0; i < count; i++)
		if (known[i].number == call->number)
			return waits_for_ever(call, &known[i]);
	return false;
}

/* Where a register is, for PTRACE_PEEKUSER and PTRACE_POKEUSER. */
#define AT(register) ((void *)offsetof(struct user, regs.register))

static bool peek(int tid, void *at, int64_t *ret)
{
	errno = 0;
	*ret = ptrace(PTRACE_PEEKUSER, tid, at, NULL);
	return errno == 0;
}

/* Whether a call was made by the numbers of 32-bit programs, as any program can. */
static bool is_of_32_bits(int tid)
{
	struct __ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) < 0)
		return false; /* before Linux 5.3 */
	return info.arch == AUDIT_ARCH_I386;
}

static bool read_call(int tid, struct ended_call *ret)
{
	struct user_regs_struct user;
	int64_t number;

	*ret = (struct ended_call){.tid = tid};
	if (!peek(tid, AT(rax), &ret->result) || ret->result >= 0 || ret->result < -4095)
		return false;
	if (!peek(tid, AT(orig_rax), &number) || number < 0 ||
	    ptrace(PTRACE_GETREGS, tid, NULL, &user) < 0)
		return false;
	ret->of_32_bits = is_of_32_bits(tid);
	ret->number = number & ~X32_BIT;
	if (ret->of_32_bits) {
		const uint64_t arguments[6] = {user.rbx, user.rcx, user.rdx,
					       user.rsi, user.rdi, user.rbp};
		for (int i = 0; i < 6; i++)
			ret->arguments[i] = (uint32_t)arguments[i];
	} else {
		const uint64_t arguments[6] = {user.rdi, user.rsi, user.rdx,
					       user.r10, user.r8,  user.r9};
		for (int i = 0; i < 6; i++)
			ret->arguments[i] = arguments[i];
	}
	return true;
}

/*
 * The kernel goes on with a call for the rest of its time by another one, restart_syscall(2), of
 * which the filters of a sandbox (seccomp) need not know. Then it is better made from the start.
 */
static bool is_barred_from_the_rest(int tid)
{
	enum tm_filter_verdict verdict = tm_filter_judge(tid, SYS_restart_syscall);

	return verdict == TM_FILTER_DEADLY || verdict == TM_FILTER_DENIES;
}

int tm_tracee_mend_call(int tid, struct tm_event *event, struct tm_error *error)
{
	enum { GUARD_INSTALL = 102 /* MADV_GUARD_INSTALL */ };
	struct ended_call call;
	bool mended;

	if (!read_call(tid, &call))
		return TM_OK;
	event->guards = call.result == -TM_ERESTARTNOINTR && !call.of_32_bits &&
			call.number == SYS_madvise && call.arguments[2] == GUARD_INSTALL;
	mended = call.result == -TM_ERESTARTNOHAND && is_to_wait(&call);
	event->waits = mended || (call.result == -EINTR && is_to_wait(&call));
	if (mended || (!event->waits &&
		       !(call.result == -TM_ERESTART_RESTARTBLOCK && is_barred_from_the_rest(tid))))
		return TM_OK;
	if (ptrace(PTRACE_POKEUSER, tid, AT(rax), (void *)(long)-TM_ERESTARTNOHAND) < 0)
		return tm_fail_on(error, tid, "have a system call made again");
	return TM_OK;
}

/* Whether a thread sleeps in a call of a kind that is mended, whatever its time limit. */
static bool sleeps_in_one(int tid)
{
	TM_CLEANUP(tm_close) int fd = -1;
	struct tm_error ignored;
	char text[32] = "";
	long number;

	if (tm_open_proc(tid, "syscall", O_RDONLY, &fd, &ignored) != TM_OK ||
	    read(fd, text, sizeof(text) - 1) <= 0 || text[0] == 'r')
		return false;
	number = strtol(text, NULL, 10) & ~X32_BIT;
	for (size_t i = 0; i < sizeof(native) / sizeof(native[0]); i++)
		if (native[i].number == number)
			return true;
	for (size_t i = 0; i < sizeof(of_32_bits) / sizeof(of_32_bits[0]); i++)
		if (of_32_bits[i].number == number)
			return true;
	return false;
}

/* Whether a thread stands as interrupted, which is not taken note of: it is still to be reported.
 */
static bool has_stopped(int tid)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)tid, &info, WSTOPPED | WNOHANG | WNOWAIT | __WALL) == 0 &&
	       info.si_pid == tid && info.si_status == (SIGTRAP | PTRACE_EVENT_STOP << 8);
}

int tm_tracee_interrupt_call(int tid, bool sure, struct tm_error *error)
{
	enum {
		LOOKS = 40
	}; /* of less than a microsecond each: it stops soon, or waits for a processor */
	bool careful = sure || sleeps_in_one(tid);
	struct tm_event ignored;
	int code = tm_tracee_interrupt(tid, error);

	for (int i = 0; careful && code == TM_OK && i < LOOKS; i++)
		if (has_stopped(tid))
			return tm_tracee_mend_call(tid, &ignored, error);
	return code;
}

#else

/* Elsewhere the registers of a thread at this stop do not tell what call it was within. */
int tm_tracee_mend_call(int tid, struct tm_event *event, struct tm_error *error)
{
	(void)tid;
	(void)event;
	(void)error;
	return TM_OK;
}

int tm_tracee_interrupt_call(int tid, bool sure, struct tm_error *error)
{
	(void)sure;
	return tm_tracee_interrupt(tid, error);
}

#endif
