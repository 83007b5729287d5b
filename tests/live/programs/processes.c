/* All ways of making, changing and ending processes and threads. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actor.h"

enum { STACK_BYTES = 1 << 20 };

/* fork NAME */
static long do_fork(struct request *request)
{
	pid_t child = fork();

	if (child)
		return child < 0 ? -errno : child;
	close(request->line);
	serve(introduce(request->words[1]));
}

/* vfork NAME: answers when the child has given the memory back. */
static long do_vfork(struct request *request)
{
	/* The child goes deeper in this stack and never returns from here, as vfork(2) demands. */
	pid_t child = vfork();

	if (child)
		return child < 0 ? -errno : child;
	serve(introduce(request->words[1]));
}

static _Noreturn int serve_name(void *name)
{
	char copy[64];

	/* The message that holds it is overwritten by the next. */
	snprintf(copy, sizeof(copy), "%s", (char *)name);
	free(name);
	serve(introduce(copy));
}

/* A process or thread, which introduces itself by a name, with any flags of clone(2). */
static long start(int flags, const char *name)
{
	char *stack =
		mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int child = clone(serve_name, stack + STACK_BYTES, flags, strdup(name));

	return child < 0 ? -errno : child;
}

/* clone FLAGS NAME */
static long do_clone(struct request *request)
{
	return start((int)request->numbers[1], request->words[2]);
}

/* clone_vm NAME: a process of its own in the same memory. */
static long clone_vm(struct request *request)
{
	return start(CLONE_VM | SIGCHLD, request->words[1]);
}

static _Noreturn int idle(void *nothing)
{
	(void)nothing;
	for (;;)
		pause();
}

/*
 * crowd COUNT ADDRESS: a child with threads, of each of which the kernel clears the word in a page
 * of its own when it ends (CLONE_CHILD_CLEARTID). The answer is the child's id.
 */
static long crowd(struct request *request)
{
	enum { SMALL = 1 << 16 };
	const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			  CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
	char *words = (char *)request->numbers[2];
	char *stacks = mmap(NULL, (size_t)(request->numbers[1] * SMALL), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int up[2];
	char byte;
	pid_t child = pipe(up) ? -1 : fork();

	if (child)
		return child < 0 || read(up[0], &byte, 1) != 1 ? -errno : child;
	close(request->line);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (long i = 0; i < request->numbers[1]; i++)
		if (clone(idle, stacks + (i + 1) * SMALL, flags, NULL, NULL, NULL,
			  words + i * sysconf(_SC_PAGESIZE)) < 0)
			_exit(1);
	if (write(up[1], "u", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static void *begin_thread(void *name)
{
	serve_name(name);
}

/* thread NAME */
static long thread(struct request *request)
{
	pthread_t thread;

	return -pthread_create(&thread, NULL, begin_thread, strdup(request->words[1]));
}

/* exec NAME: a new program in this process, which introduces itself by NAME. */
static long exec(struct request *request)
{
	char *arguments[] = {actor_arguments[0], actor_arguments[1], request->words[1], NULL};

	execve("/proc/self/exe", arguments, environ);
	return -errno;
}

/* vfork_exec PATH and spawn PATH: run a program to its end; the answer is its status. */
static long reap(pid_t child)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) < 0)
		return -errno;
	return status;
}

static long vfork_exec(struct request *request)
{
	char *arguments[] = {request->words[1], NULL};
	pid_t child = vfork();

	if (child)
		return reap(child);
	execve(arguments[0], arguments, environ);
	_exit(127);
}

static long spawn(struct request *request)
{
	char *arguments[] = {request->words[1], NULL};
	pid_t child;
	int error = posix_spawn(&child, arguments[0], NULL, NULL, arguments, environ);

	return error ? -error : reap(child);
}

/* daemonise NAME: the way of a daemon, which leaves its parent and its session. */
static long daemonise(struct request *request)
{
	pid_t child = fork();

	if (child)
		return reap(child);
	close(request->line);
	setsid();
	if (fork() > 0)
		_exit(0);
	serve(introduce(request->words[1]));
}

/* Stores to one page and ends: by itself, by a signal, or in a grandchild, in turn. */
static _Noreturn void live_briefly(long index, volatile long *word, long value)
{
	if (index % 4 == 3) {
		pid_t child = fork();

		if (child == 0)
			*word = value;
		else
			waitpid(child, NULL, 0);
		_exit(0);
	}
	*word = value;
	if (index % 4 == 1)
		raise(SIGKILL);
	if (index % 4 == 2) {
		char *arguments[] = {"/bin/true", NULL};

		execve(arguments[0], arguments, environ);
	}
	_exit(0);
}

/* storm ADDRESS COUNT VALUE: many short lives, each of which stores to one page. */
static long storm(struct request *request)
{
	enum { AT_ONCE = 8 };
	long size = sysconf(_SC_PAGESIZE);
	long *word = (long *)request->numbers[1];
	pid_t children[AT_ONCE] = {0};

	for (long i = 0; i < request->numbers[2] + AT_ONCE; i++) {
		pid_t *child = &children[i % AT_ONCE];

		if (*child)
			waitpid(*child, NULL, 0);
		*child = i < request->numbers[2] ? fork() : 0;
		if (*child < 0)
			return -errno;
		if (*child == 0 && i < request->numbers[2])
			live_briefly(i, word + i * size / (long)sizeof(*word),
				     request->numbers[3] + i);
	}
	return 0;
}

/*
 * brood COUNT: children as fast as can be, which do nothing and end with their parent. The
 * answer tells their ids.
 */
static long brood(struct request *request)
{
	int length = 0;

	for (long i = 0; i < request->numbers[1]; i++) {
		pid_t child = fork();

		if (child < 0)
			return -errno;
		if (child) {
			length += sprintf(request->answer + length, "%s%d", i ? "," : "", child);
			continue;
		}
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(request->line);
		for (;;)
			pause();
	}
	return 0;
}

/* step: asks the keeper for leave to go on; the answer is its byte. */
static long step(struct request *request)
{
	int keeper = atoi(getenv("TIDEMARK_STEP_FD"));
	char leave = 0;

	(void)request;
	if (write(keeper, "?", 1) != 1)
		return -errno;
	while (read(keeper, &leave, 1) < 0 && errno == EINTR)
		continue;
	return leave;
}

const struct verb process_verbs[] = {
	{"clone", do_clone},	{"crowd", crowd},
	{"fork", do_fork},	{"vfork", do_vfork},
	{"clone_vm", clone_vm}, {"thread", thread},
	{"exec", exec},		{"vfork_exec", vfork_exec},
	{"spawn", spawn},	{"daemonise", daemonise},
	{"storm", storm},	{"brood", brood},
	{"step", step},		{0},
};
