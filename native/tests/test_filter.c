/* What filters of system calls make of a call: run here, and asked of a thread that has some. */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "internal.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct sock_filter load_number =
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));

static struct sock_filter returns(unsigned action)
{
	return (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
}

static void each_action_has_its_verdict(void)
{
	static const struct {
		unsigned action;
		enum tm_filter_verdict verdict;
	} known[] = {
		{SECCOMP_RET_ALLOW, TM_FILTER_PASSES},
		{SECCOMP_RET_LOG, TM_FILTER_PASSES},
		{SECCOMP_RET_ERRNO | 1, TM_FILTER_DENIES},
		{SECCOMP_RET_TRACE | 7, TM_FILTER_DENIES},
		{SECCOMP_RET_TRAP, TM_FILTER_DEADLY},
		{SECCOMP_RET_USER_NOTIF, TM_FILTER_DEADLY},
		{SECCOMP_RET_KILL_THREAD, TM_FILTER_DEADLY},
		{SECCOMP_RET_KILL_PROCESS, TM_FILTER_DEADLY},
	};

	for (size_t i = 0; i < COUNT(known); i++) {
		const struct sock_filter program = returns(known[i].action);

		CHECK(tm_filter_run(&program, 1, SYS_close) == known[i].verdict);
	}
}

static void only_the_calls_of_a_list_pass(void)
{
	const struct sock_filter program[] = {
		load_number,
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 1000, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 0, 1),
		returns(SECCOMP_RET_ALLOW),
		returns(SECCOMP_RET_KILL_PROCESS),
	};

	CHECK(tm_filter_run(program, COUNT(program), SYS_close) == TM_FILTER_PASSES);
	CHECK(tm_filter_run(program, COUNT(program), SYS_read) == TM_FILTER_PASSES);
	CHECK(tm_filter_run(program, COUNT(program), SYS_userfaultfd) == TM_FILTER_DEADLY);
	CHECK(tm_filter_run(program, COUNT(program), 2000) == TM_FILTER_DEADLY);
}

static void a_filter_may_calculate(void)
{
	const struct sock_filter program[] = {
		load_number,
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 5),
		BPF_STMT(BPF_ST, 3),
		BPF_STMT(BPF_LD | BPF_IMM, 0),
		BPF_STMT(BPF_LDX | BPF_MEM, 3),
		BPF_STMT(BPF_MISC | BPF_TXA, 0),
		BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 1),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (SYS_close + 5) * 2, 0, 1),
		returns(SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_LD | BPF_IMM, SECCOMP_RET_ERRNO | 1),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};

	CHECK(tm_filter_run(program, COUNT(program), SYS_close) == TM_FILTER_PASSES);
	CHECK(tm_filter_run(program, COUNT(program), SYS_read) == TM_FILTER_DENIES);
}

static void what_depends_on_arguments_cannot_be_told(void)
{
	const struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 0),
		returns(SECCOMP_RET_ALLOW),
	};

	CHECK(tm_filter_run(program, COUNT(program), SYS_close) == TM_FILTER_DEADLY);
}

static void a_program_without_an_end_cannot_be_told(void)
{
	CHECK(tm_filter_run(&load_number, 1, SYS_close) == TM_FILTER_DEADLY);
	CHECK(tm_filter_run(NULL, 0, SYS_close) == TM_FILTER_DEADLY);
}

static void set_filter(const struct sock_filter *program, size_t count)
{
	struct sock_fprog filter = {(unsigned short)count, (struct sock_filter *)program};

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

/* The second filter, which denies, counts for more than the first. */
static void have_two_filters(unsigned char *memory, struct check_child *child)
{
	const struct sock_filter all[] = {returns(SECCOMP_RET_ALLOW)};
	const struct sock_filter most[] = {
		load_number,
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		returns(SECCOMP_RET_ERRNO | 1),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mincore, 0, 1),
		returns(SECCOMP_RET_KILL_PROCESS),
		returns(SECCOMP_RET_ALLOW),
	};

	(void)memory;
	set_filter(most, COUNT(most));
	set_filter(all, COUNT(all));
	check_done(child);
	check_wait_go(child);
}

static void wait_for_end(unsigned char *memory, struct check_child *child)
{
	(void)memory;
	check_done(child);
	check_wait_go(child);
}

static void the_filters_of_a_thread_are_judged_together(void)
{
	struct check_child child;
	char byte;

	check_start(&child, have_two_filters, NULL);
	CHECK(read(child.done[0], &byte, 1) == 1);
	check_stop(child.pid);
	if (tm_filter_judge(child.pid, SYS_close) != TM_FILTER_UNKNOWN) { /* only root may ask */
		CHECK(tm_filter_judge(child.pid, SYS_close) == TM_FILTER_PASSES);
		CHECK(tm_filter_judge(child.pid, SYS_userfaultfd) == TM_FILTER_DENIES);
		CHECK(tm_filter_judge(child.pid, SYS_mincore) == TM_FILTER_DEADLY);
	} else {
		CHECK(geteuid() != 0 || tm_status_number(getpid(), "Seccomp") != 0);
	}
	check_end(&child);
}

static void a_thread_without_filters_is_told_from_others(void)
{
	struct check_child child;
	enum tm_filter_verdict verdict;
	char byte;

	check_start(&child, wait_for_end, NULL);
	CHECK(read(child.done[0], &byte, 1) == 1);
	check_stop(child.pid);
	verdict = tm_filter_judge(child.pid, SYS_close);
	CHECK(verdict == TM_FILTER_NONE || verdict == TM_FILTER_UNKNOWN);
	check_end(&child);
}

int main(void)
{
	each_action_has_its_verdict();
	only_the_calls_of_a_list_pass();
	a_filter_may_calculate();
	what_depends_on_arguments_cannot_be_told();
	a_program_without_an_end_cannot_be_told();
	the_filters_of_a_thread_are_judged_together();
	a_thread_without_filters_is_told_from_others();
	return 0;
}
