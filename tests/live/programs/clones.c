/* Threads and processes that ptrace does not follow, and words that the kernel clears at their end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "actor.h"

enum {
	STACK_BYTES = 1 << 16,
	THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
};

static void store(volatile long *word, long pages, long value)
{
	long step = sysconf(_SC_PAGESIZE) / (long)sizeof(*word);

	for (long i = 0; i < pages; i++)
		word[i * step] = value + i;
}

/* untraced_store ADDRESS PAGES VALUE: a child made with CLONE_UNTRACED stores, and ends. */
static long untraced_store(struct request *request)
{
	pid_t child = (pid_t)syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0);

	if (child == 0) {
		store((void *)request->numbers[1], request->numbers[2], request->numbers[3]);
		_exit(0);
	}
	return child < 0 || waitpid(child, NULL, 0) < 0 ? -errno : 0;
}

/* untraced NAME: such a child that lives on. */
static long untraced(struct request *request)
{
	pid_t child = (pid_t)syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0);

	if (child)
		return child < 0 ? -errno : child;
	close(request->line);
	serve(introduce(request->words[1]));
}

/* A thread that uses nothing of the C library's: it has no thread-local storage of its own. */
static struct {
	volatile long *word;
	long pages;
	long value;
	atomic_int over;
	int ended; /* cleared by the kernel */
	char *stack;
} unseen;

static int store_on(void *unused)
{
	const struct timespec pause = {.tv_nsec = 200000};
	long step = 4096 / (long)sizeof(*unseen.word);

	(void)unused;
	for (long i = 0; !unseen.over; i++) {
		unseen.word[i % unseen.pages * step] = unseen.value + i;
		syscall(SYS_nanosleep, &pause, NULL);
	}
	return 0;
}

/* untraced_thread ADDRESS PAGES VALUE: a thread made with CLONE_UNTRACED stores, until its end. */
static long untraced_thread(struct request *request)
{
	unseen.word = (void *)request->numbers[1];
	unseen.pages = request->numbers[2];
	unseen.value = request->numbers[3];
	unseen.over = 0;
	unseen.ended = 1;
	unseen.stack =
		mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return clone(store_on, unseen.stack + STACK_BYTES,
		     THREAD | CLONE_UNTRACED | CLONE_CHILD_CLEARTID, NULL, NULL, NULL,
		     &unseen.ended) < 0
		       ? -errno
		       : 0;
}

/* untraced_thread_end: has it end. */
static long untraced_thread_end(struct request *request)
{
	const struct timespec pause = {.tv_nsec = 100000};

	(void)request;
	unseen.over = 1;
	while (__atomic_load_n(&unseen.ended, __ATOMIC_SEQ_CST))
		nanosleep(&pause, NULL);
	return munmap(unseen.stack, STACK_BYTES) < 0 ? -errno : 0;
}

static _Noreturn int wait_for_ever(void *unused)
{
	(void)unused;
	for (;;)
		syscall(SYS_pause);
}

/*
 * words_to_clear ADDRESS COUNT VALUE: a child with COUNT threads, each of which has a word in a
 * page of its own that the kernel clears at the thread's end (CLONE_CHILD_CLEARTID). The answer is
 * the child's id; it lives until it is killed.
 */
static long words_to_clear(struct request *request)
{
	long size = sysconf(_SC_PAGESIZE), count = request->numbers[2];
	int up[2];
	char byte;
	pid_t child;

	if (pipe(up) < 0)
		return -errno;
	store((void *)request->numbers[1], count, request->numbers[3]);
	child = fork();
	if (child == 0) {
		char *stacks = mmap(NULL, (size_t)count * STACK_BYTES, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		close(request->line);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (long i = 0; i < count; i++)
			clone(wait_for_ever, stacks + (i + 1) * STACK_BYTES,
			      THREAD | CLONE_CHILD_CLEARTID, NULL, NULL, NULL,
			      (char *)request->numbers[1] + i * size);
		byte = (char)write(up[1], "x", 1);
		wait_for_ever(NULL);
	}
	close(up[1]);
	while (child > 0 && read(up[0], &byte, 1) < 0 && errno == EINTR)
		continue;
	close(up[0]);
	return child < 0 ? -errno : child;
}

const struct verb clone_verbs[] = {
	{"untraced_store", untraced_store},   {"untraced", untraced},
	{"untraced_thread", untraced_thread}, {"untraced_thread_end", untraced_thread_end},
	{"words_to_clear", words_to_clear},   {0},
};
