/*
 * What injecting a system call needs to know of the processor: its instruction, and where
 * number, arguments and result stand (syscall(2)).
 */
#ifndef TM_ARCH_H
#define TM_ARCH_H

#include <stdint.h>
#include <string.h>
#include <sys/user.h>

/* What the kernel leaves in the result of a system call that it will restart: linux/errno.h. */
enum {
	TM_ERESTARTSYS = 512,
	TM_ERESTARTNOINTR = 513,
	TM_ERESTARTNOHAND = 514,	/* unless a signal's handler runs */
	TM_ERESTART_RESTARTBLOCK = 516, /* by restart_syscall(2), for the rest of its time */
};

#if defined(__x86_64__)

#define TM_SYSCALL_INSTRUCTION {0x0f, 0x05}

struct tm_registers {
	struct user_regs_struct user;
};

static inline void tm_registers_call(struct tm_registers *registers, uint64_t instruction,
				     long number, const uint64_t arguments[6])
{
	struct user_regs_struct *user = &registers->user;

	user->rip = instruction;
	user->rax = (unsigned long long)number;
	/* Not within a system call: or the kernel would restart the one it was in. */
	user->orig_rax = ~0ULL;
	user->rdi = arguments[0];
	user->rsi = arguments[1];
	user->rdx = arguments[2];
	user->r10 = arguments[3];
	user->r8 = arguments[4];
	user->r9 = arguments[5];
}

static inline int64_t tm_registers_result(const struct tm_registers *registers)
{
	return (int64_t)registers->user.rax;
}

static inline uint64_t tm_registers_instruction(const struct tm_registers *registers)
{
	return registers->user.rip;
}

/* The number of the system call that the thread is within, negative for none. */
static inline int64_t tm_registers_number(const struct tm_registers *registers)
{
	return (int64_t)registers->user.orig_rax;
}

/* Sets the next instruction, of no system call. */
static inline void tm_registers_go(struct tm_registers *registers, uint64_t instruction)
{
	registers->user.rip = instruction;
	registers->user.orig_rax = ~0ULL;
}

#elif defined(__aarch64__)

#define TM_SYSCALL_INSTRUCTION {0x01, 0x00, 0x00, 0xd4} /* svc #0 */

struct tm_registers {
	struct user_regs_struct user;
};

static inline void tm_registers_call(struct tm_registers *registers, uint64_t instruction,
				     long number, const uint64_t arguments[6])
{
	struct user_regs_struct *user = &registers->user;

	user->pc = instruction;
	memcpy(user->regs, arguments, 6 * sizeof(arguments[0]));
	user->regs[8] = (unsigned long long)number;
}

static inline int64_t tm_registers_result(const struct tm_registers *registers)
{
	return (int64_t)registers->user.regs[0];
}

static inline uint64_t tm_registers_instruction(const struct tm_registers *registers)
{
	return registers->user.pc;
}

/* It is not kept where the registers are. */
static inline int64_t tm_registers_number(const struct tm_registers *registers)
{
	(void)registers;
	return 0;
}

static inline void tm_registers_go(struct tm_registers *registers, uint64_t instruction)
{
	registers->user.pc = instruction;
}

#else
#error "Tidemark knows how to inject system calls on x86-64 and arm64 only"
#endif

#endif
