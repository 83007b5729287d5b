/* The threads and children of processes that nobody has told of: a search of /proc. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

enum {
	WORKER_FLAGS = 0x10 | 0x4000, /* PF_IO_WORKER, PF_USER_WORKER: linux/sched.h */
	STAT_FLAGS = 6,		      /* the place of the flags behind the state: proc(5) */
};

/* What a search knows and has found. */
struct search {
	const int *known; /* ascending */
	size_t known_count;
	size_t capacity;
	struct tm_task *found;
	size_t count;
};

static int compare(const void *one, const void *other)
{
	int left = *(const int *)one, right = *(const int *)other;

	return (left > right) - (left < right);
}

static bool is_known(const struct search *search, int tid)
{
	return search->known_count > 0 &&
	       bsearch(&tid, search->known, search->known_count, sizeof(tid), compare) != NULL;
}

/* Opens a path below /proc/PID/task; -1 where it has ended. */
static int open_task(int pid, const char *path, int flags)
{
	char whole[64];

	snprintf(whole, sizeof(whole), "/proc/%d/task%s", pid, path);
	return open(whole, flags | O_RDONLY | O_CLOEXEC);
}

/* Reads the state of a thread, 0 where it is gone, and whether it is one of the kernel's. */
static char look_at(int pid, int tid, bool *worker)
{
	TM_CLEANUP(tm_close) int fd = -1;
	char path[32], text[512], *field;
	ssize_t size;

	snprintf(path, sizeof(path), "/%d/stat", tid);
	fd = open_task(pid, path, 0);
	size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	text[size < 0 ? 0 : size] = '\0';
	/* The name is in parentheses and may itself hold spaces and parentheses. */
	field = strrchr(text, ')');
	if (!field || strlen(field) < 3)
		return 0;
	field += 2;
	for (int i = 0; i < STAT_FLAGS && field; i++)
		field = strchr(field + 1, ' ');
	*worker = field && strtoul(field, NULL, 10) & WORKER_FLAGS;
	return strrchr(text, ')')[2];
}

static void note(struct search *search, int pid, int tid)
{
	struct tm_task task = {.pid = pid, .tid = tid};
	char state = look_at(pid, tid, &task.worker);

	if (!state || state == 'Z' || state == 'X')
		return;
	if (search->count < search->capacity)
		search->found[search->count] = task;
	search->count++;
}

/* Notes the threads of a process; calls `then`, where there is one, for each that it has. */
static void search_threads(struct search *search, int pid,
			   void (*then)(struct search *search, int pid, int tid))
{
	TM_CLEANUP(tm_close) int fd = open_task(pid, "", O_DIRECTORY);
	_Alignas(struct dirent64) char entries[8192];
	ssize_t size;

	while (fd >= 0 && (size = getdents64(fd, entries, sizeof(entries))) > 0) {
		for (ssize_t at = 0; at < size;) {
			const struct dirent64 *entry = (const void *)(entries + at);
			int tid = atoi(entry->d_name);

			at += entry->d_reclen;
			if (tid <= 0)
				continue;
			if (!is_known(search, tid))
				note(search, pid, tid);
			if (then)
				then(search, pid, tid);
		}
	}
}

/* Notes the threads of a thread's children that are not known. */
static void search_children(struct search *search, int pid, int tid)
{
	TM_CLEANUP(tm_close) int fd = -1;
	char path[32], text[4096];
	ssize_t size;
	int child = 0;

	snprintf(path, sizeof(path), "/%d/children", tid);
	fd = open_task(pid, path, 0);
	while (fd >= 0 && (size = read(fd, text, sizeof(text))) > 0) {
		for (ssize_t i = 0; i < size; i++) {
			if (text[i] >= '0' && text[i] <= '9') {
				child = child * 10 + text[i] - '0';
				continue;
			}
			if (child && !is_known(search, child))
				search_threads(search, child, NULL);
			child = 0;
		}
	}
}

size_t tm_tasks_unknown(const struct tm_tasks *tasks, size_t capacity, struct tm_task *ret)
{
	struct search search = {tasks->known, tasks->known_count, capacity, ret, 0};

	for (size_t i = 0; i < tasks->count; i++)
		search_threads(&search, tasks->pids[i], search_children);
	return search.count;
}
