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
 * no more than needed, and our own SIGCHLD is blocked, or its handler would run for each of them.
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
	VDSO_PAGES = sizeof(((struct tm_vdso *)0)->content) / 4096,
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

static ssize_t read_memory(int tid, uint64_t address, void *buffer, size_t size)
{
	struct iovec local = {.iov_base = buffer, .iov_len = size};
	/* One entry per page: a read stops at the first entry that it cannot read. */
	struct iovec remote[VDSO_PAGES];
	size_t count = 0;

	for (size_t done = 0; done < size && count < VDSO_PAGES; count++) {
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

/* The end of an ELF file in memory: of its sections' headers, or else of its one segment. */
static size_t end_of(const unsigned char *content, size_t size)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	size_t end;

	if (size < sizeof(header))
		return size;
	memcpy(&header, content, sizeof(header));
	end = header.e_shoff + (size_t)header.e_shnum * header.e_shentsize;
	if (header.e_phoff + sizeof(segment) <= size && header.e_phnum) {
		memcpy(&segment, content + header.e_phoff, sizeof(segment));
		if (segment.p_offset + segment.p_filesz > end)
			end = segment.p_offset + segment.p_filesz;
	}
	return end < size ? end : size;
}

static int read_vdso(int tid, struct tm_vdso *ret, struct tm_error *error)
{
	size_t page = tm_page_size();
	ssize_t size;
	int code = find_vdso(tid, &ret->address, error);

	if (code != TM_OK)
		return code;
	size = read_memory(tid, ret->address, ret->content, sizeof(ret->content));
	if (size < 0)
		return tm_fail_on(error, tid, "read the vDSO");
	ret->size = (size_t)size;
	ret->end = end_of(ret->content, ret->size);
	ret->mapped = (ret->end + page - 1) / page * page;
	return TM_OK;
}

static int find_instruction(int tid, const struct tm_vdso *vdso, uint64_t *ret,
			    struct tm_error *error)
{
	static const unsigned char instruction[] = TM_SYSCALL_INSTRUCTION;
	const unsigned char *found =
		memmem(vdso->content, vdso->end, instruction, sizeof(instruction));

	if (!found)
		return tm_fail(error, TM_UNSUPPORTED,
			       "no system call instruction in the vDSO of %d", tid);
	*ret = vdso->address + (uint64_t)(found - vdso->content);
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

/* Where a thread that was stopped within a restartable sequence goes on, 0 if it was not. */
static uint64_t abort_address(const struct tm_injection *injection)
{
	struct {
		uint32_t version, flags;
		uint64_t start, length, abort;
	} section; /* struct rseq_cs of rseq(2) */
	uint64_t at = tm_registers_instruction(&injection->registers);

	if (!injection->rseq_section || read_memory(injection->tid, injection->rseq_section,
						    &section, sizeof(section)) != sizeof(section))
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
	int code = read_vdso(tid, vdso, error);

	if (code == TM_OK)
		code = find_instruction(tid, vdso, &injection->instruction, error);
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
	code = secure(injection, &vdso, error);
	if (code == TM_OK)
		code = request(PTRACE_SETSIGMASK, thread.tid, sizeof(all), &all,
			       "PTRACE_SETSIGMASK", error);
	if (code != TM_OK)
		tm_injection_end(injection);
	return code;
}

/* Resumes the thread until it stands with an event of the kind `wanted`. */
static int resume_until(struct tm_injection *injection, enum __ptrace_request what, int wanted,
			struct tm_error *error)
{
	struct tm_event event = {0};
	int code;

	do {
		event.kind = TM_EVENT_NONE;
		code = request(what, injection->tid, 0, NULL, "resume for a system call", error);
		/* It stops within microseconds: to sleep and be woken up takes longer than that. */
		for (int i = 0; i < LOOKS && code == TM_OK && event.kind == TM_EVENT_NONE; i++)
			code = tm_tracee_wait(injection->tid, i == LOOKS - 1, &event, error);
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

int tm_injection_call(struct tm_injection *injection, const struct tm_call *call, int64_t *ret,
		      struct tm_error *error)
{
	struct tm_registers registers = injection->registers;
	uint64_t instruction = tm_lifeline_call(&injection->lifeline, call->undo);
	int code;

	tm_registers_call(&registers, instruction ? instruction : injection->instruction,
			  call->number, call->arguments);
	code = set_registers(injection->tid, &registers, error);
	if (code == TM_OK) /* to its entry */
		code = resume_until(injection, PTRACE_SYSCALL, TM_EVENT_SYSCALL, error);
	if (code == TM_OK) /* to its end */
		code = resume_until(injection, PTRACE_SYSCALL, TM_EVENT_SYSCALL, error);
	injection->called = injection->called || code == TM_OK;
	if (code == TM_OK)
		code = get_registers(injection->tid, &registers, error);
	if (code == TM_OK)
		*ret = tm_registers_result(&registers);
	return code;
}

/* Brings a thread from the end of a call of ours to a stop of the kind that it stood in before. */
static void stop_again(struct tm_injection *injection)
{
	struct tm_error ignored; /* it may have been killed */

	if (injection->called && tm_tracee_interrupt(injection->tid, &ignored) == TM_OK)
		(void)resume_until(injection, PTRACE_CONT, TM_EVENT_STOPPED, &ignored);
}

void tm_injection_end(struct tm_injection *injection)
{
	struct tm_error ignored; /* a thread that was killed meanwhile has nothing to put back */

	stop_again(injection);
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
