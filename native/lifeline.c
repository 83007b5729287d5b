/*
 * A lifeline for a thread that executes a system call of ours: if we die within it, the
 * thread runs on, and finds behind the call the way back to where it stood.
 *
 * It is a piece of code in the padding behind the end of the thread's vDSO, which no program
 * uses: the system call, another one that undoes it, the signal mask, the registers, and a
 * jump. As long as we live the thread is stopped after the first of these, and does no more.
 * Neither its stack nor its flags are touched.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

#if defined(__x86_64__)

/*
 * Two places for a call, used in turn: a thread that stands behind one call must keep the way
 * to undo it until, in one step, it is set before the next.
 */
__asm__(".pushsection .rodata\n"
	".macro TM_CALL place\n"
	"tm_lifeline_call_\\place:\n"
	"	syscall\n"
	"tm_lifeline_first_\\place:\n" /* written over where the result is the argument */
	"	mov	tm_lifeline_undo_\\place+8(%rip), %rdi\n"
	"	mov	tm_lifeline_undo_\\place+16(%rip), %rsi\n"
	"	mov	tm_lifeline_undo_\\place(%rip), %rax\n"
	"	syscall\n"
	"	jmp	tm_lifeline_back\n"
	"	.balign	8\n"
	"tm_lifeline_undo_\\place:\n"
	"	.fill	3, 8, 0\n"
	".endm\n"
	"	.balign	16\n"
	"tm_lifeline_code:\n"
	"	TM_CALL	0\n"
	"	TM_CALL	1\n"
	"tm_lifeline_back:\n"
	"	mov	$14, %eax\n" /* rt_sigprocmask */
	"	mov	$2, %edi\n"  /* SIG_SETMASK */
	"	lea	tm_lifeline_state(%rip), %rsi\n"
	"	mov	$0, %edx\n"
	"	mov	$8, %r10d\n"
	"	syscall\n"
	"	mov	tm_lifeline_state+8(%rip), %rax\n"
	"	mov	tm_lifeline_state+16(%rip), %rcx\n"
	"	mov	tm_lifeline_state+24(%rip), %rdx\n"
	"	mov	tm_lifeline_state+32(%rip), %rsi\n"
	"	mov	tm_lifeline_state+40(%rip), %rdi\n"
	"	mov	tm_lifeline_state+48(%rip), %r8\n"
	"	mov	tm_lifeline_state+56(%rip), %r9\n"
	"	mov	tm_lifeline_state+64(%rip), %r10\n"
	"	mov	tm_lifeline_state+72(%rip), %r11\n"
	"	jmp	*tm_lifeline_state+80(%rip)\n"
	"	.balign	8\n"
	"tm_lifeline_state:\n"
	"	.fill	11, 8, 0\n"
	"tm_lifeline_code_end:\n"
	".popsection\n");

extern const unsigned char tm_lifeline_code[], tm_lifeline_code_end[];
extern const unsigned char tm_lifeline_call_0[], tm_lifeline_first_0[], tm_lifeline_undo_0[];
extern const unsigned char tm_lifeline_call_1[], tm_lifeline_first_1[], tm_lifeline_undo_1[];
extern const unsigned char tm_lifeline_back[], tm_lifeline_state[];

/* The places for a call: the call, the first step of undoing it, and what that takes. */
static const struct {
	const unsigned char *call, *first, *undo;
} places[2] = {
	{tm_lifeline_call_0, tm_lifeline_first_0, tm_lifeline_undo_0},
	{tm_lifeline_call_1, tm_lifeline_first_1, tm_lifeline_undo_1},
};

enum { CODE_BYTES = 512 /* at least as long as the code */, RESTART_SYSCALL = 219 };

/* What the kernel leaves in a register of a system call that it will restart. */
enum { ERESTARTSYS = 512, ERESTARTNOINTR = 513, ERESTARTNOHAND = 514, ERESTART_RESTARTBLOCK = 516 };

struct state {
	uint64_t signal_mask;
	uint64_t rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11, rip;
};

static size_t code_size(void)
{
	return (size_t)(tm_lifeline_code_end - tm_lifeline_code);
}

static uint64_t address_of(const struct tm_lifeline *lifeline, const unsigned char *symbol)
{
	return lifeline->address + (uint64_t)(symbol - tm_lifeline_code);
}

/* Where a thread goes on: the kernel would restart a system call that it was stopped in. */
static struct state state_of(const struct tm_registers *registers, uint64_t signal_mask,
			     uint64_t abort_address)
{
	const struct user_regs_struct *user = &registers->user;
	struct state state = {
		.signal_mask = signal_mask,
		.rax = user->rax,
		.rcx = user->rcx,
		.rdx = user->rdx,
		.rsi = user->rsi,
		.rdi = user->rdi,
		.r8 = user->r8,
		.r9 = user->r9,
		.r10 = user->r10,
		.r11 = user->r11,
		.rip = abort_address ? abort_address : user->rip,
	};
	int64_t result = (int64_t)user->rax;

	if ((int64_t)user->orig_rax < 0)
		return state;
	if (result == -ERESTARTSYS || result == -ERESTARTNOINTR || result == -ERESTARTNOHAND)
		state.rax = user->orig_rax;
	else if (result == -ERESTART_RESTARTBLOCK)
		state.rax = RESTART_SYSCALL;
	else
		return state;
	state.rip -= 2; /* the length of the instruction */
	return state;
}

/* Room for the code behind the end of the vDSO, 0 where there is none. */
static uint64_t find_room(const struct tm_vdso *vdso)
{
	const unsigned char nothing[CODE_BYTES] = {0};
	size_t size = (code_size() + 15) & ~15UL;

	if (code_size() > CODE_BYTES || vdso->mapped > sizeof(vdso->content))
		return 0;
	if (vdso->mapped < size || vdso->end < 16) /* whoever made that, it is no vDSO */
		return 0;
	/* Not zero is what was left there by somebody like us who died. */
	for (size_t start = vdso->mapped - size; start >= vdso->end; start -= 16)
		if (memcmp(vdso->content + start, nothing, size) == 0)
			return vdso->address + start;
	return 0;
}

void tm_lifeline_begin(struct tm_lifeline *lifeline, const struct tm_vdso *vdso,
		       const struct tm_lifeline_target *target)
{
	unsigned char code[CODE_BYTES];
	struct state state =
		state_of(target->registers, target->signal_mask, target->abort_address);
	struct tm_error ignored; /* without a lifeline it is done all the same */

	*lifeline = (struct tm_lifeline){.address = find_room(vdso), .memory = -1};
	if (!lifeline->address)
		return;
	memcpy(code, tm_lifeline_code, code_size());
	memcpy(code + (tm_lifeline_state - tm_lifeline_code), &state, sizeof(state));
	/* What a program itself may not write its tracer may: as for a breakpoint. */
	if (tm_open_proc(target->tid, "mem", O_RDWR, &lifeline->memory, &ignored) != TM_OK ||
	    tm_pwrite_all(lifeline->memory, code, code_size(), lifeline->address, &ignored) !=
		    TM_OK)
		lifeline->address = 0;
}

uint64_t tm_lifeline_back_address(const struct tm_lifeline *lifeline)
{
	return lifeline->address ? address_of(lifeline, tm_lifeline_back) : 0;
}

uint64_t tm_lifeline_call(struct tm_lifeline *lifeline, struct tm_undo undo)
{
	static const unsigned char from_result[] = {0x48, 0x89, 0xc7,	     /* mov %rax, %rdi */
						    0x0f, 0x1f, 0x40, 0x00}; /* nop */
	const int64_t words[3] = {undo.number, (int64_t)undo.arguments[0],
				  (int64_t)undo.arguments[1]};
	const unsigned char *first = places[lifeline->place].first;
	size_t size = (size_t)(places[lifeline->place].undo - first) + sizeof(words);
	unsigned char code[CODE_BYTES];
	struct tm_error ignored;
	uint64_t call = address_of(lifeline, places[lifeline->place].call);

	if (!lifeline->address)
		return 0;
	memcpy(code, first, size);
	if (undo.of_result)
		memcpy(code, from_result, sizeof(from_result));
	memcpy(code + size - sizeof(words), words, sizeof(words));
	lifeline->place = !lifeline->place;
	if (tm_pwrite_all(lifeline->memory, code, size, address_of(lifeline, first), &ignored) !=
	    TM_OK)
		return 0;
	return call;
}

void tm_lifeline_end(struct tm_lifeline *lifeline)
{
	const unsigned char nothing[CODE_BYTES] = {0};
	struct tm_error ignored; /* the thread may be gone */

	if (lifeline->address)
		(void)tm_pwrite_all(lifeline->memory, nothing, code_size(), lifeline->address,
				    &ignored);
	tm_close(&lifeline->memory);
}

#else

/* On arm64 no jump leaves all registers alone: a thread whose tracer dies there is lost. */
void tm_lifeline_begin(struct tm_lifeline *lifeline, const struct tm_vdso *vdso,
		       const struct tm_lifeline_target *target)
{
	(void)vdso;
	(void)target;
	*lifeline = (struct tm_lifeline){.memory = -1};
}

uint64_t tm_lifeline_back_address(const struct tm_lifeline *lifeline)
{
	(void)lifeline;
	return 0;
}

uint64_t tm_lifeline_call(struct tm_lifeline *lifeline, struct tm_undo undo)
{
	(void)lifeline;
	(void)undo;
	return 0;
}

void tm_lifeline_end(struct tm_lifeline *lifeline)
{
	(void)lifeline;
}

#endif
