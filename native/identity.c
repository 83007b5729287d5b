/* What stands behind mappings: the objects are asked, by the links in /proc/TID/map_files. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "internal.h"

enum { INO32_GEN = 1 }; /* FILEID_INO32_GEN of the kernel's exportfs.h */

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

	if (name_to_handle_at(fd, "", &handle.head, &mount, AT_EMPTY_PATH) < 0)
		return; /* this file system has none, or a longer one */
	object->handle_type = handle.head.handle_type;
	object->handle_bytes = handle.head.handle_bytes;
	memcpy(object->handle, handle.head.f_handle, handle.head.handle_bytes);
}

/* Whether a handle is one that a tmpfs gives: generation, inode, and the inode's upper half. */
static bool may_be_tmpfs(const struct tm_object *object)
{
	return object->handle_type == INO32_GEN && object->handle_bytes == 3 * sizeof(uint32_t);
}

/*
 * Fills *object from a descriptor, which may be one of O_PATH; false with errno set.
 *
 * The server of a file system (FUSE) may be one of the processes that stand: it must not be asked,
 * or we would wait for it for ever. statx(2) takes what is known here; statfs(2) would ask, but for
 * a tmpfs, and no such server gives handles like those.
 */
static bool ask(int fd, struct tm_object *object)
{
	struct statfs system;
	struct statx status;

	memset(object, 0, sizeof(*object));
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &status) < 0)
		return false;
	object->device_major = status.stx_dev_major;
	object->device_minor = status.stx_dev_minor;
	object->inode = status.stx_ino;
	object->size = status.stx_size;
	object->mode = status.stx_mode;
	ask_handle(fd, object);
	if (!may_be_tmpfs(object))
		return true;
	if (fstatfs(fd, &system) < 0)
		return false;
	object->file_system = (uint64_t)system.f_type;
	return true;
}

int tm_object_ask(int fd, struct tm_object *ret, struct tm_error *error)
{
	return ask(fd, ret) ? TM_OK : tm_fail(error, TM_SYSTEM, "ask what a descriptor shows");
}

/* O_PATH: no driver is called, and neither an access nor an opening is noted. */
static int ask_mapping(int links, struct tm_span span, struct tm_object *object)
{
	TM_CLEANUP(tm_close) int fd = -1;
	char name[64];

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
