/* Assembling BPF programs, and bpf(2): Documentation/bpf/standardization/instruction-set.rst. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bpf_program.h"

/*
 * Which licences a program may be used under. The kernel lets only some of them follow its
 * pointers.
 */
/*
 * The kernel lets only programs of a licence that goes with its own follow its pointers. Those that
 * are loaded here, some instructions from testimony_programs.c, may be used under the MIT licence
 * or the GPL, besides that of the project.
 */
static const char licence[] = "Dual MIT/GPL";

static void emit(struct tm_bpf_program *program, struct bpf_insn instruction)
{
	if (program->count < TM_BPF_CAPACITY)
		program->code[program->count] = instruction;
	program->count++; /* one that is too long is refused when it is loaded */
}

static uint8_t width(uint32_t size)
{
	return size == 8 ? BPF_DW : BPF_W;
}

void tm_bpf_load_from(struct tm_bpf_program *program, int to, int from, uint32_t offset,
		      uint32_t size)
{
	emit(program, (struct bpf_insn){.code = BPF_LDX | width(size) | BPF_MEM,
					.dst_reg = (unsigned)to & 15U,
					.src_reg = (unsigned)from & 15U,
					.off = (int16_t)offset});
}

void tm_bpf_store(struct tm_bpf_program *program, int to, int offset, int from, uint32_t size)
{
	emit(program, (struct bpf_insn){.code = BPF_STX | width(size) | BPF_MEM,
					.dst_reg = (unsigned)to & 15U,
					.src_reg = (unsigned)from & 15U,
					.off = (int16_t)offset});
}

void tm_bpf_atomic_add(struct tm_bpf_program *program, int to, int offset, int from)
{
	emit(program, (struct bpf_insn){.code = BPF_STX | BPF_DW | BPF_ATOMIC,
					.dst_reg = (unsigned)to & 15U,
					.src_reg = (unsigned)from & 15U,
					.off = (int16_t)offset,
					.imm = BPF_ADD});
}

void tm_bpf_number(struct tm_bpf_program *program, int operation, int to, int32_t number)
{
	emit(program, (struct bpf_insn){.code = (uint8_t)(BPF_ALU64 | operation | BPF_K),
					.dst_reg = (unsigned)to & 15U,
					.imm = number});
}

void tm_bpf_register(struct tm_bpf_program *program, int operation, int to, int from)
{
	emit(program, (struct bpf_insn){.code = (uint8_t)(BPF_ALU64 | operation | BPF_X),
					.dst_reg = (unsigned)to & 15U,
					.src_reg = (unsigned)from & 15U});
}

void tm_bpf_map(struct tm_bpf_program *program, int to, int map, bool value)
{
	emit(program, (struct bpf_insn){.code = BPF_LD | BPF_DW | BPF_IMM,
					.dst_reg = (unsigned)to & 15U,
					.src_reg = value ? BPF_PSEUDO_MAP_VALUE : BPF_PSEUDO_MAP_FD,
					.imm = map});
	emit(program, (struct bpf_insn){0}); /* the second half: an offset of 0 */
}

void tm_bpf_call(struct tm_bpf_program *program, int function)
{
	emit(program, (struct bpf_insn){.code = BPF_JMP | BPF_CALL, .imm = function});
}

/* Notes that the jump that comes next leads to the end. */
static void note_leaving(struct tm_bpf_program *program)
{
	if (program->leaves < (int)(sizeof(program->leaving) / sizeof(*program->leaving)))
		program->leaving[program->leaves++] = program->count;
	else
		program->count = TM_BPF_CAPACITY; /* as one that is too long */
}

void tm_bpf_leave_if(struct tm_bpf_program *program, int compared, int value, int32_t number)
{
	note_leaving(program);
	emit(program, (struct bpf_insn){.code = (uint8_t)(BPF_JMP | compared | BPF_K),
					.dst_reg = (unsigned)value & 15U,
					.imm = number});
}

void tm_bpf_leave_if_same(struct tm_bpf_program *program, int value, int other)
{
	note_leaving(program);
	emit(program, (struct bpf_insn){.code = BPF_JMP | BPF_JEQ | BPF_X,
					.dst_reg = (unsigned)value & 15U,
					.src_reg = (unsigned)other & 15U});
}

void tm_bpf_skip_if_zero(struct tm_bpf_program *program, int value, int skipped)
{
	emit(program, (struct bpf_insn){.code = BPF_JMP | BPF_JEQ | BPF_K,
					.dst_reg = (unsigned)value & 15U,
					.off = (int16_t)skipped});
}

void tm_bpf_end(struct tm_bpf_program *program)
{
	for (int i = 0; i < program->leaves; i++)
		program->code[program->leaving[i]].off =
			(int16_t)(program->count - program->leaving[i] - 1);
	tm_bpf_number(program, BPF_MOV, BPF_REG_0, 0);
	emit(program, (struct bpf_insn){.code = BPF_JMP | BPF_EXIT});
}

int tm_bpf(int command, union bpf_attr *attributes)
{
	return (int)syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

/* What a failed bpf(2) means. */
static int fail(struct tm_error *error, const char *what, const char *name)
{
	if (errno == EPERM || errno == EACCES)
		return tm_fail(error, TM_FORBIDDEN, "%s a BPF program for %s", what, name);
	return tm_fail(error, TM_UNSUPPORTED, "%s a BPF program for %s (%s)", what, name,
		       strerror(errno));
}

int tm_bpf_attach(const struct tm_bpf_program *program, struct tm_bpf_place place, int *ret_program,
		  int *ret_link, struct tm_error *error)
{
	union bpf_attr load = {.prog_type = BPF_PROG_TYPE_TRACING};
	union bpf_attr attach = {0};

	if (program->count > TM_BPF_CAPACITY)
		return tm_fail(error, TM_BOUNDS, "the program for %s is too long", place.name);
	load.insn_cnt = (uint32_t)program->count;
	load.insns = (uintptr_t)program->code;
	load.license = (uintptr_t)licence;
	load.expected_attach_type = (uint32_t)place.side;
	load.attach_btf_id = place.function;
	memcpy(load.prog_name, "tidemark", sizeof("tidemark"));
	*ret_program = tm_bpf(BPF_PROG_LOAD, &load);
	if (*ret_program < 0)
		return fail(error, "load", place.name);
	attach.raw_tracepoint.prog_fd = (uint32_t)*ret_program;
	*ret_link = tm_bpf(BPF_RAW_TRACEPOINT_OPEN, &attach);
	return *ret_link < 0 ? fail(error, "attach", place.name) : TM_OK;
}

int tm_bpf_misses(int program, uint64_t *ret, struct tm_error *error)
{
	struct bpf_prog_info info = {0};
	union bpf_attr ask = {0};

	ask.info.bpf_fd = (uint32_t)program;
	ask.info.info_len = sizeof(info);
	ask.info.info = (uintptr_t)&info;
	if (tm_bpf(BPF_OBJ_GET_INFO_BY_FD, &ask) < 0)
		return tm_fail(error, TM_SYSTEM, "ask for the misses of a BPF program");
	*ret = info.recursion_misses;
	return TM_OK;
}
