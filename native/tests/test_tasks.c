/* Searching for threads and processes, and reports of births. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { MOST = 16 };

/* The ids that a child writes where the test finds them. */
struct ids {
	volatile pid_t thread, child;
};

static _Noreturn void *wait_for_end(void *ids)
{
	((struct ids *)ids)->thread = gettid();
	for (;;)
		pause();
}

static void have_tasks(unsigned char *memory, struct check_child *child)
{
	struct ids *ids = (struct ids *)memory;
	siginfo_t info;
	pthread_t thread;
	pid_t made;

	check_wait_go(child);
	CHECK(pthread_create(&thread, NULL, wait_for_end, ids) == 0);
	while (!ids->thread)
		sched_yield();
	made = fork();
	if (made == 0)
		_exit(0);
	CHECK(waitid(P_PID, (id_t)made, &info, WEXITED | WNOWAIT) == 0);
	made = fork();
	if (made == 0)
		for (;;)
			pause();
	ids->child = made;
	check_done(child);
	check_wait_go(child);
}

static bool has(const struct tm_task *tasks, size_t count, pid_t pid, pid_t tid)
{
	for (size_t i = 0; i < count; i++)
		if (tasks[i].pid == pid && tasks[i].tid == tid)
			return !tasks[i].worker;
	return false;
}

static void threads_and_children_that_live_are_found(void)
{
	unsigned char *memory = check_share(1);
	struct ids *ids = (struct ids *)memory;
	struct check_child child;
	struct tm_task found[MOST];
	struct tm_tasks tasks = {.pids = &child.pid, .count = 1};
	size_t count;

	memset(memory, 0, sizeof(*ids));
	check_start(&child, have_tasks, memory);
	check_go(&child);
	count = tm_tasks_unknown(&tasks, MOST, found);
	CHECK(count == 3);
	CHECK(has(found, count, child.pid, child.pid));
	CHECK(has(found, count, child.pid, ids->thread));
	CHECK(has(found, count, ids->child, ids->child));
	CHECK(tm_tasks_unknown(&tasks, 1, found) == 3);
	tasks.known = (int[]){child.pid, ids->thread};
	tasks.known_count = 2;
	count = tm_tasks_unknown(&tasks, MOST, found);
	CHECK(count == 1 && has(found, count, ids->child, ids->child));
	tasks.known = (int[]){child.pid, ids->thread, ids->child};
	tasks.known_count = 3;
	CHECK(tm_tasks_unknown(&tasks, MOST, found) == 0);
	CHECK(kill(ids->child, SIGKILL) == 0);
	check_end(&child);
	CHECK(tm_tasks_unknown(&tasks, MOST, found) == 0);
}

/* The maker of a process, 0 where its birth was not reported. */
static int maker_of(struct tm_births *births, pid_t child)
{
	struct tm_birth found[64];
	int maker = 0;
	bool lost;
	size_t count;

	do {
		count = tm_births_read(births, 64, found, &lost);
		for (size_t i = 0; i < count; i++)
			if (found[i].child == child)
				maker = found[i].maker;
	} while (count == 64);
	return maker;
}

static void births_name_their_maker(struct tm_births *births)
{
	volatile pid_t *hidden = (volatile pid_t *)check_share(1);
	pid_t child = fork();

	if (child == 0) {
		pid_t made = (pid_t)syscall(SYS_clone, CLONE_UNTRACED | CLONE_PARENT | SIGCHLD, 0,
					    0, 0, 0);

		if (made == 0)
			_exit(0);
		*hidden = made;
		_exit(0);
	}
	CHECK(waitpid(child, NULL, 0) == child);
	CHECK(waitpid(*hidden, NULL, 0) == *hidden);
	CHECK(maker_of(births, *hidden) == child);
}

static void *end(void *nothing)
{
	return nothing;
}

static void threads_are_no_births(struct tm_births *births)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, end, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(maker_of(births, getpid()) == 0);
}

/* Every thread leaves two records, and a ring has room for 8,192. */
static void lost_reports_are_told_once(struct tm_births *births)
{
	struct tm_birth found[64];
	pthread_t thread;
	cpu_set_t before, one;
	bool lost;
	int cpu = sched_getcpu();

	CHECK(sched_getaffinity(0, sizeof(before), &before) == 0);
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
	(void)maker_of(births, 0);
	for (int i = 0; i < 4200; i++) {
		CHECK(pthread_create(&thread, NULL, end, NULL) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	CHECK(sched_setaffinity(0, sizeof(before), &before) == 0);
	(void)tm_births_read(births, 64, found, &lost);
	CHECK(lost);
	(void)maker_of(births, 0); /* with it goes the kernel's own record of the loss */
	(void)maker_of(births, 0);
	(void)tm_births_read(births, 64, found, &lost);
	CHECK(!lost);
}

int main(void)
{
	struct tm_births *births;
	struct tm_error error;
	int code;

	threads_and_children_that_live_are_found();
	code = tm_births_open(&births, &error);
	if (code == TM_FORBIDDEN) {
		printf("skipped: no reports of births: %s\n", error.what);
		return 0;
	}
	CHECK_OK(code);
	births_name_their_maker(births);
	threads_are_no_births(births);
	lost_reports_are_told_once(births);
	tm_births_close(births);
	return 0;
}
