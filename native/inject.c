/*
 * Making a stopped thread execute system calls.
 *
 * The instruction is one in the thread's own vDSO, so no code is changed. Signals are
 * blocked meanwhile: a handler must not run on registers that are not the program's. The
 * thread is let run from system call stop to system call stop, not stepped: a single step
 * ends with a forced SIGTRAP, which would reset a program's own handler for it. Last, it
 * is interrupted: only after a stop of that kind does the kernel restart the system call
 * that the very first interrupt had cut short.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
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
	VDSO_BYTES = 4 * 4096, /* more than any kernel's; a shorter one is read as far as it goes */
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

static ssize_t read_memory(int tid, uint64_t address, void *buffer, size_t size)
{
	struct iovec local = {.iov_base = buffer, .iov_len = size};
	/* One entry per page: a read stops at the first entry that it cannot read. */
	struct iovec remote[VDSO_BYTES / 4096];
	size_t count = 0;

	for (size_t done = 0; done < size && count < VDSO_BYTES / 4096; count++) {
		size_t piece = size - done < 4096 ? size - done : 4096;

		remote[count].iov_base = (void *)(uintptr_t)(address + done);
		remote[count].iov_len = piece;
		done += piece;
	}
	return process_vm_readv(tid, &local, 1, remote, count, 0);
}

/* The address of the vDSO, from the auxiliary vector: getauxval(3). */
static int find_vdso(int tid, uint64_t *ret, struct tm_error *error)
{
	TM_CLEANUP(tm_close) int fd = -1;
	uint64_t pair[2];
	int code = tm_open_proc(tid, "auxv", O_RDONLY, &fd, error);

	if (code != TM_OK)
		return code;
	while (read(fd, pair, sizeof(pair)) == sizeof(pair) && pair[0] != AT_NULL) {
		if (pair[0] == AT_SYSINFO_EHDR) {
			*ret = pair[1];
			return TM_OK;
		}
	}
	return tm_fail(error, TM_UNSUPPORTED, "process %d has no vDSO", tid);
}

static int find_instruction(int tid, uint64_t *ret, struct tm_error *error)
{
	static const unsigned char instruction[] = TM_SYSCALL_INSTRUCTION;
	unsigned char code[VDSO_BYTES];
	const unsigned char *found;
	uint64_t vdso = 0;
	ssize_t size;
	int result = find_vdso(tid, &vdso, error);

	if (result != TM_OK)
		return result;
	size = read_memory(tid, vdso, code, sizeof(code));
	if (size < 0)
		return tm_fail_on(error, tid, "read the vDSO");
	found = memmem(code, (size_t)size, instruction, sizeof(instruction));
	if (!found)
		return tm_fail(error, TM_UNSUPPORTED,
			       "no system call instruction in the vDSO of %d", tid);
	*ret = vdso + (uint64_t)(found - code);
	return TM_OK;
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
	if (read_memory(injection->tid, injection->rseq_pointer, &injection->rseq_section,
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

int tm_injection_begin(struct tm_injection *injection, int tid, struct tm_error *error)
{
	uint64_t all = ~0ULL;
	int code;

	memset(injection, 0, sizeof(*injection));
	injection->tid = tid;
	code = find_instruction(tid, &injection->instruction, error);
	if (code == TM_OK)
		code = get_registers(tid, &injection->registers, error);
	if (code == TM_OK)
		code = request(PTRACE_GETSIGMASK, tid, sizeof(all), &injection->signal_mask,
			       "PTRACE_GETSIGMASK", error);
	if (code != TM_OK)
		return code;
	save_restartable_sequence(injection);
	return request(PTRACE_SETSIGMASK, tid, sizeof(all), &all, "PTRACE_SETSIGMASK", error);
}

/* Resumes the thread until it stands with an event of the kind `wanted`. */
static int resume_until(struct tm_injection *injection, enum __ptrace_request what, int wanted,
			struct tm_error *error)
{
	struct tm_event event = {0};
	int code;

	do {
		code = request(what, injection->tid, 0, NULL, "resume for a system call", error);
		if (code == TM_OK)
			code = tm_tracee_wait(injection->tid, true, &event, error);
		if (code != TM_OK)
			return code;
		if (event.kind == TM_EVENT_ENDED || event.kind == TM_EVENT_EXITING) {
			tm_fail(error, TM_GONE, "ended within a system call of ours");
			error->pid = injection->tid;
			return TM_GONE;
		}
		if (event.kind == TM_EVENT_SIGNAL)
			injection->held_signal = event.signal;
	} while (event.kind != wanted);
	return TM_OK;
}

int tm_injection_call(struct tm_injection *injection, long number, const uint64_t arguments[6],
		      int64_t *ret, struct tm_error *error)
{
	struct tm_registers registers = injection->registers;
	int code;

	tm_registers_call(&registers, injection->instruction, number, arguments);
	code = set_registers(injection->tid, &registers, error);
	if (code == TM_OK) /* to its entry */
		code = resume_until(injection, PTRACE_SYSCALL, TM_EVENT_SYSCALL, error);
	if (code == TM_OK) /* to its end */
		code = resume_until(injection, PTRACE_SYSCALL, TM_EVENT_SYSCALL, error);
	if (code == TM_OK)
		code = get_registers(injection->tid, &registers, error);
	if (code == TM_OK)
		code = tm_tracee_interrupt(injection->tid, error);
	if (code == TM_OK)
		code = resume_until(injection, PTRACE_CONT, TM_EVENT_STOPPED, error);
	if (code == TM_OK)
		*ret = tm_registers_result(&registers);
	return code;
}

void tm_injection_end(struct tm_injection *injection)
{
	struct tm_error ignored; /* a thread that was killed meanwhile has nothing to put back */

	restore_restartable_sequence(injection);
	(void)set_registers(injection->tid, &injection->registers, &ignored);
	(void)request(PTRACE_SETSIGMASK, injection->tid, sizeof(injection->signal_mask),
		      &injection->signal_mask, "PTRACE_SETSIGMASK", &ignored);
	if (injection->held_signal)
		(void)syscall(SYS_tkill, injection->tid, injection->held_signal);
}

int tm_tracee_syscall(int tid, long number, const uint64_t arguments[6], int64_t *ret,
		      struct tm_error *error)
{
	struct tm_injection injection;
	int code = tm_injection_begin(&injection, tid, error);

	if (code != TM_OK)
		return code;
	code = tm_injection_call(&injection, number, arguments, ret, error);
	tm_injection_end(&injection);
	return code;
}
