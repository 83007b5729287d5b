/* Errors, descriptors and whole reads and writes: what every other file needs. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

void tm_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

void tm_free(void *pointer)
{
	free(*(void **)pointer);
}

uint64_t tm_page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

static int fill(struct tm_error *error, int code, int pid, const char *format, va_list arguments)
{
	int saved = errno;

	error->code = code;
	error->sys_errno = code == TM_SYSTEM || code == TM_FORBIDDEN ? saved : 0;
	error->pid = pid;
	error->address = 0;
	vsnprintf(error->what, sizeof(error->what), format, arguments);
	return code;
}

int tm_fail(struct tm_error *error, int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fill(error, code, 0, format, arguments);
	va_end(arguments);
	return code;
}

int tm_fail_on(struct tm_error *error, int pid, const char *format, ...)
{
	va_list arguments;
	int code = TM_SYSTEM;

	/* /proc answers ESRCH for a process that ended after its file was opened. */
	if (errno == ESRCH || errno == ENOENT || errno == ECHILD)
		code = TM_GONE;
	else if (errno == EPERM || errno == EACCES)
		code = TM_FORBIDDEN;
	va_start(arguments, format);
	fill(error, code, pid, format, arguments);
	va_end(arguments);
	return code;
}

int tm_open_proc(int tid, const char *name, int flags, int *ret, struct tm_error *error)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", tid, name);
	*ret = open(path, flags | O_CLOEXEC);
	return *ret < 0 ? tm_fail_on(error, tid, "open %s", path) : TM_OK;
}

int tm_pread_all(int fd, void *buffer, size_t size, uint64_t offset, struct tm_error *error)
{
	for (size_t done = 0; done < size;) {
		ssize_t got = pread(fd, (char *)buffer + done, size - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return tm_fail(error, TM_SYSTEM, "read at %#llx",
				       (unsigned long long)(offset + done));
		if (got == 0)
			return tm_fail(error, TM_SHORT, "read at %#llx: end of file",
				       (unsigned long long)(offset + done));
		done += (size_t)got;
	}
	return TM_OK;
}

int tm_write_all(int fd, const void *buffer, size_t size, struct tm_error *error)
{
	for (size_t done = 0; done < size;) {
		ssize_t put = write(fd, (const char *)buffer + done, size - done);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return tm_fail(error, TM_SYSTEM, "write");
		if (put == 0)
			return tm_fail(error, TM_SHORT, "write: nothing is taken any more");
		done += (size_t)put;
	}
	return TM_OK;
}

int tm_pwrite_all(int fd, const void *buffer, size_t size, uint64_t offset, struct tm_error *error)
{
	for (size_t done = 0; done < size;) {
		ssize_t put = pwrite(fd, (const char *)buffer + done, size - done,
				     (off_t)(offset + done));

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return tm_fail(error, TM_SYSTEM, "write at %#llx",
				       (unsigned long long)(offset + done));
		if (put == 0) /* so it is for the memory of a process that has ended */
			return tm_fail(error, TM_SHORT, "write at %#llx: nothing is taken any more",
				       (unsigned long long)(offset + done));
		done += (size_t)put;
	}
	return TM_OK;
}

int tm_exchange_paths(const char *path, const char *other, struct tm_error *error)
{
	if (renameat2(AT_FDCWD, path, AT_FDCWD, other, RENAME_EXCHANGE) == 0)
		return TM_OK;
	if (errno == EINVAL || errno == ENOSYS)
		return tm_fail(error, TM_UNSUPPORTED, "the file system cannot exchange two names");
	return tm_fail(error, TM_SYSTEM, "exchange two names");
}

int tm_status_field(int tid, const char *field, uint64_t *ret, struct tm_error *error)
{
	size_t length = strlen(field), size = 0;
	char *line = NULL;
	bool found = false, failed;
	FILE *file;
	int fd, code = tm_open_proc(tid, "status", O_RDONLY, &fd, error);

	*ret = 0;
	if (code != TM_OK)
		return code;
	file = fdopen(fd, "r");
	if (!file) {
		close(fd);
		return tm_fail(error, TM_MEMORY, "read the status of thread %d", tid);
	}
	/* Line by line, as long as they are: a process can be in 65,536 groups. */
	while (!found && getline(&line, &size, file) >= 0) {
		found = strncmp(line, field, length) == 0 && line[length] == ':';
		*ret = found ? strtoull(line + length + 1, NULL, 10) : 0;
	}
	failed = !found && ferror(file);
	free(line);
	fclose(file);
	return failed ? tm_fail_on(error, tid, "read the status of a thread") : TM_OK;
}

int tm_status_number(int tid, const char *field)
{
	struct tm_error ignored;
	uint64_t number;

	return tm_status_field(tid, field, &number, &ignored) == TM_OK ? (int)number : 0;
}
