/* Requests to the kernel about processes and files that Python has no call for. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"

int tm_process_die_with_parent(int signal, struct tm_error *error)
{
	if (prctl(PR_SET_PDEATHSIG, signal) < 0)
		return tm_fail(error, TM_SYSTEM, "PR_SET_PDEATHSIG");
	return TM_OK;
}

int tm_file_set_access_time(int fd, int64_t nanoseconds, struct tm_error *error)
{
	const int64_t second = 1000000000;
	/* Before 1970 the seconds are rounded down, as for any time. */
	const int64_t seconds = nanoseconds / second - (nanoseconds % second < 0);
	const struct timespec times[2] = {
		{.tv_sec = seconds, .tv_nsec = nanoseconds - seconds * second},
		{.tv_nsec = UTIME_OMIT},
	};

	if (futimens(fd, times) < 0)
		return tm_fail_on(error, 0, "set the access time");
	return TM_OK;
}

int tm_process_adopt_orphans(struct tm_error *error)
{
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return tm_fail(error, TM_SYSTEM, "PR_SET_CHILD_SUBREAPER");
	return TM_OK;
}

static int compare(int tid, int other, int what, bool *ret, struct tm_error *error)
{
	long order = syscall(SYS_kcmp, tid, other, what, 0, 0);

	if (order < 0)
		return tm_fail_on(error, tid, "kcmp");
	*ret = order == 0;
	return TM_OK;
}

int tm_process_same_space(int pid, int other, bool *ret, struct tm_error *error)
{
	return compare(pid, other, KCMP_VM, ret, error);
}

int tm_thread_same_files(int tid, int other, bool *ret, struct tm_error *error)
{
	return compare(tid, other, KCMP_FILES, ret, error);
}

int tm_thread_holds_locks(int tid, bool *ret, struct tm_error *error)
{
	struct robust_list_head *address = NULL, head;
	struct iovec local = {.iov_base = &head, .iov_len = sizeof(head)};
	struct iovec remote = {.iov_len = sizeof(head)};
	size_t size;

	if (syscall(SYS_get_robust_list, tid, &address, &size) < 0)
		return tm_fail_on(error, tid, "get_robust_list");
	remote.iov_base = address;
	/* A list that cannot be read is one that the kernel cannot follow either. */
	*ret = address && process_vm_readv(tid, &local, 1, &remote, 1, 0) == sizeof(head) &&
	       ((void *)head.list.next != (void *)address || head.list_op_pending);
	return TM_OK;
}

int tm_thread_changes_mappings(int tid, bool *ret, struct tm_error *error)
{
	static const long calls[] = {SYS_madvise,	  SYS_mmap, SYS_mremap, SYS_munmap,
				     SYS_process_madvise, SYS_shmat};
	TM_CLEANUP(tm_close) int fd = -1;
	char text[32] = "";
	int code = tm_open_proc(tid, "syscall", O_RDONLY, &fd, error);
	long number;

	if (code != TM_OK)
		return code;
	if (read(fd, text, sizeof(text) - 1) < 0)
		return tm_fail_on(error, tid, "read the system call of a thread");
	number = strtol(text, NULL, 10);
	*ret = text[0] == 'r'; /* "running": it cannot be told */
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		*ret = *ret || number == calls[i];
	return TM_OK;
}

int tm_process_has_pinned(int pid, bool *ret, struct tm_error *error)
{
	uint64_t kilobytes;
	int code = tm_status_field(pid, "VmPin", &kilobytes, error);

	*ret = kilobytes > 0;
	return code;
}

/* False where the file was closed meanwhile, or the entry is none. */
static bool look_at(DIR *directory, const char *name, struct tm_open_file *ret)
{
	struct statx status;

	/* What is known here: a file system's server (FUSE) may be a process that stands. */
	if (name[0] == '.' ||
	    statx(dirfd(directory), name, AT_STATX_DONT_SYNC, STATX_INO | STATX_TYPE, &status) != 0)
		return false;
	ret->number = atoi(name);
	ret->device_major = status.stx_dev_major;
	ret->device_minor = status.stx_dev_minor;
	ret->inode = status.stx_ino;
	ret->mode = status.stx_mode;
	ret->represented_major = status.stx_rdev_major;
	ret->represented_minor = status.stx_rdev_minor;
	return true;
}

int tm_open_files(int tid, size_t capacity, struct tm_open_file *ret, size_t *count,
		  struct tm_error *error)
{
	struct tm_open_file file;
	struct dirent *entry;
	char path[32];
	DIR *directory;

	*count = 0;
	snprintf(path, sizeof(path), "/proc/%d/fd", tid);
	directory = opendir(path);
	if (!directory)
		return tm_fail_on(error, tid, "list open files");
	while ((entry = readdir(directory))) {
		if (!look_at(directory, entry->d_name, &file))
			continue;
		if (*count < capacity)
			ret[*count] = file;
		++*count;
	}
	closedir(directory);
	return TM_OK;
}
