/* Stopping, following and making threads execute system calls, on real processes. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static void wait_for_end(unsigned char *memory, struct check_child *child)
{
	(void)memory;
	check_wait_go(child);
}

static void injected_call_returns_its_result(void)
{
	struct check_child child;
	struct tm_error error;
	const uint64_t none[6] = {0};
	int64_t result;

	check_start(&child, wait_for_end, NULL);
	check_stop(child.pid);
	CHECK_OK(tm_tracee_syscall(check_stopped(child.pid), SYS_getpid, none, &result, &error));
	CHECK(result == child.pid);
	CHECK_OK(tm_tracee_syscall(check_stopped(child.pid), SYS_getppid, none, &result, &error));
	CHECK(result == getpid());
	CHECK_OK(tm_tracee_syscall(check_stopped(child.pid), SYS_close, (uint64_t[6]){9999},
				   &result, &error));
	CHECK(result == -EBADF);
	check_end(&child);
}

/* Sleeps, reads and computes; reports whether any of it was disturbed. */
static void report_disturbance(unsigned char *memory, struct check_child *child)
{
	struct timespec nap = {.tv_nsec = 300000000};
	volatile unsigned sum = 0;
	char byte;

	check_done(child);
	if (clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL) != 0)
		memory[1] = 1;
	memory[0] = 2;
	if (read(child->go[0], &byte, 1) != 1)
		memory[1] = 2;
	for (unsigned i = 0; i < 50000000; i++)
		sum += i;
	if (sum != (unsigned)(50000000ULL * 49999999ULL / 2))
		memory[1] = 3;
	check_done(child);
	pause();
}

static void interrupt_and_inject(pid_t pid)
{
	struct tm_error error;
	struct tm_event event;
	const uint64_t none[6] = {0};
	int64_t result;

	CHECK_OK(tm_tracee_interrupt(pid, &error));
	CHECK_OK(tm_tracee_wait(pid, true, &event, &error));
	CHECK(event.kind == TM_EVENT_STOPPED);
	CHECK_OK(tm_tracee_syscall(check_stopped(pid), SYS_getpid, none, &result, &error));
	CHECK(result == pid);
	CHECK_OK(tm_tracee_continue(pid, 0, &error));
}

static void a_program_is_not_disturbed_in_any_system_call(void)
{
	unsigned char *memory = check_share(1);
	struct check_child child;
	struct tm_error error;
	char byte;

	memory[0] = memory[1] = 0;
	check_start(&child, report_disturbance, memory);
	CHECK(read(child.done[0], &byte, 1) == 1);
	check_stop(child.pid);
	CHECK_OK(tm_tracee_continue(child.pid, 0, &error));
	for (int i = 0; i < 50 && memory[0] != 2; i++) /* in the sleep */
		interrupt_and_inject(child.pid);
	while (memory[0] != 2)
		usleep(1000);
	for (int i = 0; i < 50; i++) /* in the read */
		interrupt_and_inject(child.pid);
	CHECK(write(child.go[1], "", 1) == 1);
	for (int i = 0; i < 200; i++) /* in the computation */
		interrupt_and_inject(child.pid);
	CHECK(read(child.done[0], &byte, 1) == 1);
	CHECK(memory[1] == 0);
	check_end(&child);
	munmap(memory, tm_page_size());
}

static volatile sig_atomic_t trapped;

static void on_trap(int signal)
{
	(void)signal;
	trapped++;
}

static void raise_trap_when_told(unsigned char *memory, struct check_child *child)
{
	signal(SIGTRAP, on_trap);
	check_done(child);
	check_wait_go(child);
	raise(SIGTRAP);
	memory[0] = (unsigned char)trapped;
	check_done(child);
	pause();
}

static void a_handler_for_sigtrap_survives(void)
{
	unsigned char *memory = check_share(1);
	struct check_child child;
	struct tm_error error;
	struct tm_event event;
	const uint64_t none[6] = {0};
	int64_t result;
	char byte;

	memory[0] = 0;
	check_start(&child, raise_trap_when_told, memory);
	CHECK(read(child.done[0], &byte, 1) == 1);
	check_stop(child.pid);
	CHECK_OK(tm_tracee_syscall(check_stopped(child.pid), SYS_getpid, none, &result, &error));
	CHECK_OK(tm_tracee_continue(child.pid, 0, &error));
	CHECK(write(child.go[1], "", 1) == 1);
	CHECK_OK(tm_tracee_wait(child.pid, true, &event, &error));
	CHECK(event.kind == TM_EVENT_SIGNAL && event.signal == SIGTRAP);
	CHECK_OK(tm_tracee_continue(child.pid, SIGTRAP, &error));
	CHECK(read(child.done[0], &byte, 1) == 1);
	CHECK(memory[0] == 1);
	check_end(&child);
	munmap(memory, tm_page_size());
}

static void a_group_stop_outlives_an_injection(void)
{
	struct check_child child;
	struct tm_error error;
	struct tm_event event;
	const uint64_t none[6] = {0};
	int64_t result;

	check_start(&child, wait_for_end, NULL);
	kill(child.pid, SIGSTOP);
	CHECK(waitpid(child.pid, NULL, WUNTRACED) == child.pid);
	CHECK_OK(tm_tracee_seize(child.pid, TM_SEIZE_FOLLOW, &error));
	CHECK_OK(tm_tracee_wait(child.pid, true, &event, &error));
	CHECK(event.kind == TM_EVENT_STOPPED && event.signal == SIGSTOP);
	CHECK_OK(tm_tracee_syscall(check_stopped(child.pid), SYS_getpid, none, &result, &error));
	CHECK(result == child.pid);
	CHECK_OK(tm_tracee_listen(child.pid, &error));
	kill(child.pid, SIGCONT);
	CHECK_OK(tm_tracee_wait(child.pid, true, &event, &error));
	CHECK(event.kind == TM_EVENT_STOPPED);
	check_end(&child);
}

static void fork_and_exit(unsigned char *memory, struct check_child *child)
{
	pid_t grandchild;

	(void)memory;
	check_wait_go(child);
	grandchild = fork();
	if (grandchild == 0)
		_exit(7);
	waitpid(grandchild, NULL, 0);
}

static void forks_and_exits_are_reported_in_order(void)
{
	struct check_child child;
	struct tm_error error;
	struct tm_event event;
	int grandchild = 0, born = 0, exiting = 0, ended = 0;

	check_start(&child, fork_and_exit, NULL);
	check_stop(child.pid);
	CHECK_OK(tm_tracee_continue(child.pid, 0, &error));
	CHECK(write(child.go[1], "", 1) == 1);
	for (;;) {
		CHECK_OK(tm_tracee_wait(0, true, &event, &error));
		if (event.kind == TM_EVENT_NONE)
			break;
		if (event.kind == TM_EVENT_CHILD)
			grandchild = event.child;
		if (event.kind == TM_EVENT_STOPPED && event.tid != child.pid)
			born = event.tid;
		if (event.kind == TM_EVENT_EXITING)
			exiting++;
		if (event.kind == TM_EVENT_ENDED) {
			CHECK(event.exit_code == (event.tid == child.pid ? 0 : 7));
			ended++;
			continue;
		}
		CHECK_OK(tm_tracee_continue(
			event.tid, event.kind == TM_EVENT_SIGNAL ? event.signal : 0, &error));
	}
	CHECK(grandchild != 0 && born == grandchild && exiting == 2 && ended == 2);
}

static void a_killed_process_stops_once_more_before_it_ends(void)
{
	unsigned char *memory = check_share(1);
	struct check_child child;
	struct tm_error error;
	struct tm_event event;
	struct tm_mapping mapping[16];
	size_t count;

	check_start(&child, wait_for_end, memory);
	check_stop(child.pid);
	CHECK_OK(tm_tracee_continue(child.pid, 0, &error));
	kill(child.pid, SIGKILL);
	CHECK_OK(tm_tracee_wait(child.pid, true, &event, &error));
	CHECK(event.kind == TM_EVENT_EXITING);
	CHECK_OK(tm_maps_shared(child.pid, 16, mapping, &count, &error));
	CHECK(count > 0); /* its memory still stands */
	CHECK_OK(tm_tracee_continue(child.pid, 0, &error));
	CHECK_OK(tm_tracee_wait(child.pid, true, &event, &error));
	CHECK(event.kind == TM_EVENT_ENDED && event.signal == SIGKILL);
	munmap(memory, tm_page_size());
}

/* Death to who calls getpid(2). */
static void forbid_a_call(unsigned char *memory, struct check_child *child)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = 4, .filter = filter};

	(void)memory;
	check_wait_go(child);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
		check_done(child);
	check_wait_go(child);
	check_done(child);
	syscall(SYS_getpid);
}

static void a_filter_of_system_calls_does_not_kill_for_ours(void)
{
	struct check_child child;
	struct tm_error error;
	struct tm_event event;
	const uint64_t none[6] = {0};
	int64_t result;
	int code;

	check_start(&child, forbid_a_call, NULL);
	check_go(&child);
	check_stop(child.pid);
	code = tm_tracee_syscall(check_stopped(child.pid), SYS_getpid, none, &result, &error);
	if (code == TM_OK)
		CHECK(result == child.pid);
	else /* it may not be suspended: then nothing is tried */
		CHECK(code == TM_UNSUPPORTED && geteuid() != 0);
	CHECK_OK(tm_tracee_continue(child.pid, 0, &error));
	check_go(&child);
	CHECK_OK(tm_tracee_wait(child.pid, true, &event, &error));
	if (event.kind == TM_EVENT_SIGNAL) {
		CHECK_OK(tm_tracee_continue(child.pid, event.signal, &error));
		CHECK_OK(tm_tracee_wait(child.pid, true, &event, &error));
	}
	CHECK(event.kind == TM_EVENT_EXITING); /* for a call of its own it dies as before */
	CHECK_OK(tm_tracee_continue(child.pid, 0, &error));
	check_end(&child);
}

static void hold_a_robust_lock(unsigned char *memory, struct check_child *child)
{
	struct robust_list_head head = {.list = {&head.list}};

	(void)memory;
	syscall(SYS_set_robust_list, &head, sizeof(head));
	check_wait_go(child);
	check_done(child);
	check_wait_go(child);
	head.list_op_pending = &head.list;
	check_done(child);
	check_wait_go(child);
}

static void tells_who_holds_locks_that_the_kernel_will_mark(void)
{
	struct check_child child;
	struct tm_error error;
	bool holds = true;

	check_start(&child, hold_a_robust_lock, NULL);
	check_go(&child);
	CHECK_OK(tm_thread_holds_locks(child.pid, &holds, &error));
	CHECK(!holds);
	check_go(&child);
	CHECK_OK(tm_thread_holds_locks(child.pid, &holds, &error));
	CHECK(holds);
	check_end(&child);
}

static void names_the_other_tracer(void)
{
	struct check_child child;
	struct tm_error error;
	char expected[64];
	int code;
	pid_t rival;
	int ready[2];
	char byte;

	check_start(&child, wait_for_end, NULL);
	CHECK(pipe(ready) == 0);
	rival = fork();
	if (rival == 0) {
		struct tm_error ignored;

		if (tm_tracee_seize(child.pid, 0, &ignored) == TM_OK && write(ready[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	CHECK(read(ready[0], &byte, 1) == 1);
	code = tm_tracee_seize(child.pid, 0, &error);
	CHECK(code == TM_TRACED && error.pid == child.pid);
	snprintf(expected, sizeof(expected), "traced by process %d", rival);
	CHECK(strstr(error.what, expected));
	kill(rival, SIGKILL);
	CHECK(waitpid(rival, NULL, 0) == rival);
	check_end(&child);
}

static void says_that_a_process_is_gone(void)
{
	struct tm_error error;
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	CHECK(waitpid(child, NULL, 0) == child);
	CHECK(tm_tracee_seize(child, 0, &error) == TM_GONE && error.pid == child);
}

int main(void)
{
	injected_call_returns_its_result();
	a_program_is_not_disturbed_in_any_system_call();
	a_handler_for_sigtrap_survives();
	a_group_stop_outlives_an_injection();
	forks_and_exits_are_reported_in_order();
	a_killed_process_stops_once_more_before_it_ends();
	a_filter_of_system_calls_does_not_kill_for_ours();
	tells_who_holds_locks_that_the_kernel_will_mark();
	names_the_other_tracer();
	says_that_a_process_is_gone();
	return 0;
}
