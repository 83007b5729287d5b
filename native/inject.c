/*
 * Making a stopped thread execute system calls.
 *
 * The instruction is one of a lifeline, which brings the thread back where it was if we die, or
 * else one in the thread's own vDSO: so no code is changed. Signals are blocked meanwhile: a
 * handler must not run on registers that are not the program's. The thread is let run from system
 * call stop to system call stop, not stepped: a single step ends with a forced SIGTRAP, which would
 * reset a program's own handler for it. At the end it is interrupted: only after a stop of that
 * kind does the kernel restart the system call that the very first interrupt had cut short. On
 * arm64 it has turned the thread back to that call before we see it, and a call with a time limit
 * (a sleep, a poll) then begins anew with all of it.
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

/* A filter of system calls (seccomp) may kill a thread that makes one of ours. */
static int suspend_filter(struct tm_injection *injection, struct tm_error *error)
{
	long options = tm_ptrace_options(injection->options) | PTRACE_O_SUSPEND_SECCOMP;

	/* It takes less time to suspend what is not there than to look for it. */
	injection->filtered = ptrace(PTRACE_SETOPTIONS, injection->tid, NULL, options) == 0;
	if (injection->filtered || tm_status_number(injection->tid, "Seccomp") == 0)
		return TM_OK;
	return tm_fail(error, TM_UNSUPPORTED,
		       "process %d filters its system calls (seccomp), which only root may suspend",
		       injection->tid);
}

static int prepare(struct tm_injection *injection, struct tm_vdso *vdso, struct tm_error *error)
{
	int tid = injection->tid;
	int code = tm_vdso_read(tid, vdso, error);

	if (code == TM_OK)
		code = tm_vdso_instruction(tid, vdso, &injection->instruction, error);
	if (code == TM_OK)
		code = get_registers(tid, &injection->registers, error);
	if (code == TM_OK)
		code = request(PTRACE_GETSIGMASK, tid, sizeof(injection->signal_mask),
			       &injection->signal_mask, "PTRACE_GETSIGMASK", error);
	if (code == TM_OK)
		code = suspend_filter(injection, error);
	if (code == TM_OK)
		save_restartable_sequence(injection);
	return code;
}

/* Sets the thread on its way back, should we die: before anything of it is changed. */
static int secure(struct tm_injection *injection, const struct tm_vdso *vdso,
		  struct tm_error *error)
{
	const struct tm_lifeline_target target = {.tid = injection->tid,
						  .registers = &injection->registers,
						  .signal_mask = injection->signal_mask,
						  .abort_address = abort_address(injection)};
	struct tm_registers registers = injection->registers;
	uint64_t back;

	tm_lifeline_begin(&injection->lifeline, vdso, &target);
	back = tm_lifeline_back_address(&injection->lifeline);
	if (!back)
		return TM_OK;
	tm_registers_go(&registers, back);
	return set_registers(injection->tid, &registers, error);
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
	uint64_t all = ~0ULL;
	struct tm_vdso vdso;
	int code;

	*injection = (struct tm_injection){
		.tid = thread.tid, .options = thread.options, .lifeline.memory = -1};
	code = prepare(injection, &vdso, error);
	if (code != TM_OK)
		return code;
	hold_our_signals(injection);
	injection->begun = true;
	code = secure(injection, &vdso, error);
	if (code == TM_OK)
		code = request(PTRACE_SETSIGMASK, thread.tid, sizeof(all), &all,
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
		if (event.kind == TM_EVENT_SIGNAL)
			injection->held_signal = event.signal;
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
	if (injection->held_signal)
		(void)syscall(SYS_tkill, injection->tid, injection->held_signal);
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
