/* Programs for the kernel's BPF machine, assembled here and loaded by bpf(2). */
#ifndef TM_BPF_PROGRAM_H
#define TM_BPF_PROGRAM_H

#include <linux/bpf.h>

#include "internal.h"

enum { TM_BPF_CAPACITY = 64 };

/* A program that is being written. Register 10 is the end of its stack. */
struct tm_bpf_program {
	struct bpf_insn code[TM_BPF_CAPACITY];
	int count;
	int leaving[8]; /* jumps to the end, whose distance is not known yet */
	int leaves;
};

/* to = *(from + offset), of 4 or 8 bytes */
void tm_bpf_load_from(struct tm_bpf_program *program, int to, int from, uint32_t offset,
		      uint32_t size);
/* *(to + offset) = from, of 4 or 8 bytes */
void tm_bpf_store(struct tm_bpf_program *program, int to, int offset, int from, uint32_t size);
/* *(to + offset) += from, 8 bytes, at once */
void tm_bpf_atomic_add(struct tm_bpf_program *program, int to, int offset, int from);
/* `operation` is one of BPF_ADD, BPF_AND, BPF_RSH, BPF_LSH, BPF_MOV. */
void tm_bpf_number(struct tm_bpf_program *program, int operation, int to, int32_t number);
void tm_bpf_register(struct tm_bpf_program *program, int operation, int to, int from);
/* Loads a map for a call, or where `value`, the address of an array's first value. */
void tm_bpf_map(struct tm_bpf_program *program, int to, int map, bool value);
void tm_bpf_call(struct tm_bpf_program *program, int function);
/* Ends the program where `compared` (BPF_JEQ, BPF_JNE) with a number or a register holds. */
void tm_bpf_leave_if(struct tm_bpf_program *program, int compared, int value, int32_t number);
void tm_bpf_leave_if_same(struct tm_bpf_program *program, int value, int other);
/* Jumps over the next `skipped` instructions where a register is zero. */
void tm_bpf_skip_if_zero(struct tm_bpf_program *program, int value, int skipped);
/* Ends the program, and has all leaving jumps come here. */
void tm_bpf_end(struct tm_bpf_program *program);

/* bpf(2), of which the kernel does not change `attributes`. */
int tm_bpf(int command, union bpf_attr *attributes);

/* What is to be told when a kernel function is entered (BPF_TRACE_FENTRY) or left (.._FEXIT). */
struct tm_bpf_place {
	uint32_t function; /* its number in the BTF */
	int side;
	const char *name; /* for messages */
};

/*
 * Loads a program and has the kernel run it in its place, until *ret_link is closed or we die.
 * TM_FORBIDDEN without the privileges.
 */
int tm_bpf_attach(const struct tm_bpf_program *program, struct tm_bpf_place place, int *ret_program,
		  int *ret_link, struct tm_error *error);
/* How often the kernel left out a run of a program: it was running on the same processor. */
int tm_bpf_misses(int program, uint64_t *ret, struct tm_error *error);

#endif
