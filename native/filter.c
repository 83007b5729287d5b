/*
 * What becomes of a system call in a thread that has filters (seccomp): each is a small program,
 * which is read from the kernel and run here. seccomp(2), PTRACE_SECCOMP_GET_FILTER of ptrace(2).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>

#include "internal.h"

#if defined(__x86_64__)
enum { ARCHITECTURE = AUDIT_ARCH_X86_64 };
#else
enum { ARCHITECTURE = AUDIT_ARCH_AARCH64 };
#endif

enum { SCRATCH_WORDS = BPF_MEMWORDS };

/* The machine that runs a filter, and the call that it looks at. */
struct machine {
	uint32_t accumulator, index;
	uint32_t scratch[SCRATCH_WORDS];
	uint32_t number;
	bool unknown; /* it has looked at what is not known here: where from, and with what */
};

static uint32_t load(struct machine *machine, uint32_t offset)
{
	if (offset == offsetof(struct seccomp_data, nr))
		return machine->number;
	if (offset == offsetof(struct seccomp_data, arch))
		return ARCHITECTURE;
	machine->unknown = true;
	return 0;
}

static uint32_t calculate(struct machine *machine, uint16_t code, uint32_t operand)
{
	uint32_t value = machine->accumulator;

	switch (BPF_OP(code)) {
	case BPF_ADD:
		return value + operand;
	case BPF_SUB:
		return value - operand;
	case BPF_MUL:
		return value * operand;
	case BPF_DIV:
		return operand ? value / operand : 0;
	case BPF_OR:
		return value | operand;
	case BPF_AND:
		return value & operand;
	case BPF_XOR:
		return value ^ operand;
	case BPF_LSH:
		return value << (operand & 31);
	case BPF_RSH:
		return value >> (operand & 31);
	case BPF_NEG:
		return -value;
	default:
		machine->unknown = true;
		return 0;
	}
}

/* How many instructions a jump leaves out. */
static uint32_t jump(struct machine *machine, const struct sock_filter *at)
{
	uint32_t operand = BPF_SRC(at->code) == BPF_X ? machine->index : at->k;
	uint32_t value = machine->accumulator;

	switch (BPF_OP(at->code)) {
	case BPF_JA:
		return at->k;
	case BPF_JEQ:
		return value == operand ? at->jt : at->jf;
	case BPF_JGT:
		return value > operand ? at->jt : at->jf;
	case BPF_JGE:
		return value >= operand ? at->jt : at->jf;
	case BPF_JSET:
		return value & operand ? at->jt : at->jf;
	default:
		machine->unknown = true;
		return 0;
	}
}

/* What an instruction that loads brings. */
static uint32_t loaded(struct machine *machine, const struct sock_filter *at)
{
	switch (BPF_MODE(at->code)) {
	case BPF_IMM:
		return at->k;
	case BPF_ABS:
		return load(machine, at->k);
	case BPF_LEN:
		return sizeof(struct seccomp_data);
	case BPF_MEM:
		return machine->scratch[at->k % SCRATCH_WORDS];
	default:
		machine->unknown = true;
		return 0;
	}
}

/* Runs one instruction that does not end the program; returns how many are to be left out. */
static uint32_t step(struct machine *machine, const struct sock_filter *at)
{
	switch (BPF_CLASS(at->code)) {
	case BPF_LD:
		machine->accumulator = loaded(machine, at);
		break;
	case BPF_LDX:
		machine->index = loaded(machine, at);
		break;
	case BPF_ST:
		machine->scratch[at->k % SCRATCH_WORDS] = machine->accumulator;
		break;
	case BPF_STX:
		machine->scratch[at->k % SCRATCH_WORDS] = machine->index;
		break;
	case BPF_ALU:
		machine->accumulator = calculate(
			machine, at->code, BPF_SRC(at->code) == BPF_X ? machine->index : at->k);
		break;
	case BPF_JMP:
		return jump(machine, at);
	default: /* BPF_MISC */
		if (BPF_MISCOP(at->code) == BPF_TXA)
			machine->accumulator = machine->index;
		else
			machine->index = machine->accumulator;
	}
	return 0;
}

enum tm_filter_verdict tm_filter_run(const struct sock_filter *program, size_t count, long number)
{
	struct machine machine = {.number = (uint32_t)number};

	for (size_t i = 0; i < count && !machine.unknown; i++) {
		uint32_t action = program[i].k;

		if (BPF_CLASS(program[i].code) != BPF_RET) {
			i += step(&machine, &program[i]);
			continue;
		}
		if (BPF_RVAL(program[i].code) == BPF_A)
			action = machine.accumulator;
		action &= SECCOMP_RET_ACTION_FULL;
		if (action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG)
			return TM_FILTER_PASSES;
		/* Without a tracer that asked for it, a call that is to be traced is no call. */
		return action == SECCOMP_RET_ERRNO || action == SECCOMP_RET_TRACE
			       ? TM_FILTER_DENIES
			       : TM_FILTER_DEADLY;
	}
	return TM_FILTER_DEADLY; /* or it cannot be told */
}

enum tm_filter_verdict tm_filter_judge(int tid, long number)
{
	TM_CLEANUP(tm_free) struct sock_filter *program = NULL;
	enum tm_filter_verdict worst = TM_FILTER_NONE, one;
	long count;

	for (long i = 0;; i++) {
		count = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, i, NULL);
		if (count < 0)
			break;
		if (!program)
			program = malloc(BPF_MAXINSNS * sizeof(*program));
		if (!program || count > BPF_MAXINSNS ||
		    ptrace(PTRACE_SECCOMP_GET_FILTER, tid, i, program) != count)
			return TM_FILTER_DEADLY;
		one = tm_filter_run(program, (size_t)count, number);
		worst = one > worst ? one : worst;
	}
	if (worst == TM_FILTER_NONE)
		return errno == EINVAL ? TM_FILTER_NONE : TM_FILTER_UNKNOWN;
	return errno == ENOENT ? worst : TM_FILTER_DEADLY;
}
