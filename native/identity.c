/* What stands behind mappings: the objects are asked, by the links in /proc/TID/map_files. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "internal.h"

/*
 * The number of a device is reused when a file system goes, and an inode's number may be that of
 * two objects (SysV segments of two IPC namespaces; the kernel's counter of 32 bits). What file
 * servers name a file by has a generation besides: inode and generation are no other object's.
 */
static void ask_handle(int fd, struct tm_object *object)
{
	struct {
		struct file_handle head;
		unsigned char bytes[TM_HANDLE_MAX];
	} handle = {.head.handle_bytes = TM_HANDLE_MAX};
	int mount;

	object->handle_bytes = 0;
	if (name_to_handle_at(fd, "", &handle.head, &mount, AT_EMPTY_PATH) < 0)
		return; /* this file system has none, or a longer one */
	object->handle_bytes = handle.head.handle_bytes;
	memcpy(object->handle, handle.head.f_handle, handle.head.handle_bytes);
}

/* Fills *object from a descriptor, which may be one of O_PATH; false with errno set. */
static bool ask(int fd, struct tm_object *object)
{
	struct statfs system;
	struct stat status;

	if (fstat(fd, &status) < 0 || fstatfs(fd, &system) < 0)
		return false;
	object->device_major = major(status.st_dev);
	object->device_minor = minor(status.st_dev);
	object->inode = status.st_ino;
	object->size = (uint64_t)status.st_size;
	object->mode = status.st_mode;
	object->file_system = (uint64_t)system.f_type;
	ask_handle(fd, object);
	return true;
}

int tm_object_ask(int fd, struct tm_object *ret, struct tm_error *error)
{
	memset(ret, 0, sizeof(*ret));
	return ask(fd, ret) ? TM_OK : tm_fail(error, TM_SYSTEM, "ask what a descriptor shows");
}

/* O_PATH: no driver is called, and neither an access nor an opening is noted. */
static int ask_mapping(int links, struct tm_span span, struct tm_object *object)
{
	TM_CLEANUP(tm_close) int fd = -1;
	char name[64];

	memset(object, 0, sizeof(*object));
	snprintf(name, sizeof(name), "%llx-%llx", (unsigned long long)span.start,
		 (unsigned long long)span.end);
	fd = openat(links, name, O_PATH | O_CLOEXEC);
	return fd >= 0 && ask(fd, object) ? 0 : errno;
}

int tm_objects_mapped(int tid, const struct tm_span *spans, size_t count, struct tm_object *ret,
		      struct tm_error *error)
{
	TM_CLEANUP(tm_close) int links = -1;
	int code = tm_open_proc(tid, "map_files", O_PATH | O_DIRECTORY, &links, error);

	if (code != TM_OK)
		return code;
	for (size_t i = 0; i < count; i++)
		ret[i].sys_errno = ask_mapping(links, spans[i], &ret[i]);
	return TM_OK;
}
