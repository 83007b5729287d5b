/* Loads and stores, and any system call by its name. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "actor.h"

static const struct {
	const char *name;
	long number;
} system_calls[] = {
#define CALL(name) {#name, SYS_##name}
	CALL(accept4),
	CALL(clock_nanosleep),
	CALL(close),
	CALL(copy_file_range),
	CALL(dup),
	CALL(epoll_create1),
	CALL(epoll_ctl),
	CALL(epoll_pwait),
	CALL(exit),
	CALL(exit_group),
	CALL(fallocate),
	CALL(fanotify_init),
	CALL(fanotify_mark),
	CALL(fcntl),
	CALL(fsconfig),
	CALL(fsmount),
	CALL(fsopen),
	CALL(fsync),
	CALL(ftruncate),
	CALL(futex),
	CALL(io_destroy),
	CALL(io_getevents),
	CALL(io_setup),
	CALL(io_submit),
	CALL(kill),
	CALL(lseek),
	CALL(madvise),
	CALL(memfd_create),
	CALL(memfd_secret),
	CALL(mkdirat),
	CALL(mmap),
	CALL(mount),
	CALL(mprotect),
	CALL(mremap),
	CALL(munmap),
	CALL(nanosleep),
	CALL(openat),
	CALL(pidfd_getfd),
	CALL(pidfd_open),
	CALL(pipe2),
	CALL(ppoll),
	CALL(prctl),
	CALL(pread64),
	CALL(pwrite64),
	CALL(pwritev),
	CALL(read),
	CALL(rt_sigprocmask),
	CALL(rt_sigqueueinfo),
	CALL(rt_sigtimedwait),
	CALL(semctl),
	CALL(semget),
	CALL(semop),
	CALL(sendfile),
	CALL(set_robust_list),
	CALL(set_tid_address),
	CALL(shmat),
	CALL(shmctl),
	CALL(shmdt),
	CALL(shmget),
	CALL(socketpair),
	CALL(splice),
	CALL(tgkill),
	CALL(umount2),
	CALL(unlinkat),
	CALL(unshare),
	CALL(userfaultfd),
	CALL(wait4),
	CALL(write),
};

/* call NAME ARGUMENT... */
static long call(struct request *request)
{
	const long *a = request->numbers + 2;

	for (size_t i = 0; i < sizeof(system_calls) / sizeof(system_calls[0]); i++) {
		long result;

		if (strcmp(system_calls[i].name, request->words[1]) != 0)
			continue;
		result = syscall(system_calls[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);
		return result == -1 ? -errno : result;
	}
	return -ENOSYS;
}

/* fill ADDRESS PAGES VALUE: stores VALUE, VALUE + 1, ... one word in each page. */
static long fill(struct request *request)
{
	long size = sysconf(_SC_PAGESIZE);
	volatile long *word = (long *)request->numbers[1];

	for (long i = 0; i < request->numbers[2]; i++)
		word[i * size / (long)sizeof(*word)] = request->numbers[3] + i;
	return 0;
}

/* touch ADDRESS PAGES: loads a word of each page. */
static long touch(struct request *request)
{
	long size = sysconf(_SC_PAGESIZE), sum = 0;
	const volatile long *word = (long *)request->numbers[1];

	for (long i = 0; i < request->numbers[2]; i++)
		sum += word[i * size / (long)sizeof(*word)];
	return sum;
}

/* load ADDRESS */
static long load(struct request *request)
{
	return *(volatile long *)request->numbers[1];
}

/* poke ADDRESS BYTES */
static long poke(struct request *request)
{
	memcpy((void *)request->numbers[1], request->words[2], request->sizes[2]);
	return 0;
}

/* peek ADDRESS BYTES: the bytes are overwritten, and come back with the answer. */
static long peek(struct request *request)
{
	memcpy(request->words[2], (void *)request->numbers[1], request->sizes[2]);
	return 0;
}

/* count ADDRESS: adds to a word, until the next message comes. */
static long count(struct request *request)
{
	volatile long *word = (long *)request->numbers[1];
	char next;

	while (recv(request->line, &next, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
		for (int i = 0; i < 1000; i++)
			++*word;
	return 0;
}

/*
 * waves ADDRESS PAGES PAUSE: stores 1, 2, 3 and so on to the pages in turn, until the next message
 * comes, with a pause of so many microseconds after each. One page tells what all others hold.
 */
static long waves(struct request *request)
{
	long size = sysconf(_SC_PAGESIZE), pages = request->numbers[2], next = 0;
	volatile long *word = (long *)request->numbers[1];
	char message;

	while (recv(request->line, &message, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
		for (int i = 0; i < 64; i++, next++) {
			word[next % pages * size / (long)sizeof(*word)] = next + 1;
			if (request->numbers[3])
				usleep((useconds_t)request->numbers[3]);
		}
	return next;
}

/* print TEXT: a line on the standard output. */
static long print(struct request *request)
{
	return dprintf(1, "%s\n", request->words[1]);
}

const struct verb memory_verbs[] = {
	{"call", call}, {"fill", fill},	  {"touch", touch}, {"load", load},   {"poke", poke},
	{"peek", peek}, {"count", count}, {"print", print}, {"waves", waves}, {0},
};
