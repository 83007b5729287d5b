/*
 * What system calls threads are within: /proc/TID/syscall, which tells it of a thread that sleeps.
 *
 * A call that reads into memory past the page table (a direct read, process_vm_writev(2)) pins the
 * pages first, which marks them as written, and writes them later, without a mark.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "internal.h"

enum { RUNNING = -2, TEXT_BYTES = 256 };

/* process_vm_writev(2), as each of the tables of system calls has it. */
static const long writes_across[] = {
	SYS_process_vm_writev,
#if defined(__x86_64__)
	348,		  /* of 32-bit code, which any process can run */
	0x40000000 + 540, /* of x32 */
#elif defined(__aarch64__)
	377, /* of 32-bit code */
#endif
};

static bool is_writing_across(long number)
{
	for (size_t i = 0; i < sizeof(writes_across) / sizeof(writes_across[0]); i++)
		if (number == writes_across[i])
			return true;
	return false;
}

/* Calls that sleep, and write to memory only through its page table. */
static const long harmless[] = {
	SYS_futex,	     SYS_epoll_pwait,	SYS_ppoll,
	SYS_pselect6,	     SYS_nanosleep,	SYS_clock_nanosleep,
	SYS_wait4,	     SYS_waitid,	SYS_accept,
	SYS_accept4,	     SYS_rt_sigsuspend, SYS_rt_sigtimedwait,
	SYS_semop,	     SYS_semtimedop,	SYS_msgrcv,
	SYS_msgsnd,	     SYS_recvfrom,	SYS_recvmsg,
	SYS_restart_syscall, SYS_flock,		SYS_connect,
#ifdef SYS_epoll_pwait2
	SYS_epoll_pwait2,
#endif
#ifdef SYS_futex_waitv
	SYS_futex_waitv,
#endif
#if defined(__x86_64__)
	SYS_epoll_wait,	     SYS_poll,		SYS_select,
	SYS_pause,	     SYS_vfork,
#endif
};

/* The number and the first argument of the call that a thread sleeps in; RUNNING, or -1 for none.
 */
static int read_call(const char *path, long *number, uint64_t *argument)
{
	char text[TEXT_BYTES], *rest;
	ssize_t size;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	size = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (size <= 0)
		return -1;
	text[size] = '\0';
	if (text[0] == 'r') {
		*number = RUNNING;
		return 0;
	}
	*number = strtol(text, &rest, 10);
	*argument = strtoull(rest, NULL, 16);
	return 0;
}

/* Whether a socket is of a kind that copies what it receives; others (AF_ALG) pin where it goes. */
static bool copies(const char *path)
{
	static const char *const names[] = {"UNIX", "TCP", "UDP", "NETLINK"};
	char name[32] = "";

	if (getxattr(path, "system.sockprotoname", name, sizeof(name) - 1) <= 0)
		return false;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(name, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* Whether a thread reads from what copies to memory: a pipe, an event, a terminal, most sockets. */
static bool reads_by_copying(int tid, uint64_t descriptor)
{
	char path[64], target[64];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", tid, (int)descriptor);
	length = readlink(path, target, sizeof(target) - 1);
	if (length <= 0)
		return false;
	target[length] = '\0';
	if (strncmp(target, "socket:", 7) == 0)
		return copies(path);
	return target[0] != '/' || strncmp(target, "/dev/pts/", 9) == 0 ||
	       strcmp(target, "/dev/tty") == 0;
}

int tm_thread_may_pin(int tid, bool *ret, struct tm_error *error)
{
	char path[64];
	uint64_t descriptor = 0;
	long number = -1;

	snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	if (read_call(path, &number, &descriptor) != 0)
		return tm_fail_on(error, tid, "read the system call of a thread");
	*ret = number != -1;
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (number == harmless[i])
			*ret = false;
	if (number == SYS_read || number == SYS_recvfrom || number == SYS_recvmsg)
		*ret = !reads_by_copying(tid, descriptor);
	return TM_OK;
}

struct callers {
	size_t capacity;
	struct tm_caller *callers;
	size_t count;
};

/* Adds a thread that is within process_vm_writev(2). */
static void look_at(const char *process, const char *thread, struct callers *callers)
{
	char path[64];
	uint64_t target = 0;
	long number = -1;

	snprintf(path, sizeof(path), "/proc/%.16s/task/%.16s/syscall", process, thread);
	if (read_call(path, &number, &target) != 0 || !is_writing_across(number))
		return;
	if (callers->count < callers->capacity)
		callers->callers[callers->count] =
			(struct tm_caller){.tid = atoi(thread), .target = (int)target};
	callers->count++;
}

static void look_at_threads(const char *process, struct callers *callers)
{
	struct dirent *entry;
	char path[64];
	DIR *threads;

	snprintf(path, sizeof(path), "/proc/%.16s/task", process);
	threads = opendir(path);
	if (!threads)
		return; /* it has ended, or is hidden from us */
	while ((entry = readdir(threads)))
		if (entry->d_name[0] != '.')
			look_at(process, entry->d_name, callers);
	closedir(threads);
}

int tm_find_callers(size_t capacity, struct tm_caller *ret, size_t *count, struct tm_error *error)
{
	struct callers callers = {.capacity = capacity, .callers = ret};
	struct dirent *entry;
	DIR *processes = opendir("/proc");

	if (!processes)
		return tm_fail_on(error, 0, "list processes");
	while ((entry = readdir(processes)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			look_at_threads(entry->d_name, &callers);
	closedir(processes);
	*count = callers.count;
	return TM_OK;
}
