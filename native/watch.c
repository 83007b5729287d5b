/* Being told when files are opened or written: inotify(7), which follows the inode. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/inotify.h>

#include "internal.h"

int tm_watch_open(int *ret, struct tm_error *error)
{
	*ret = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	return *ret < 0 ? tm_fail(error, TM_SYSTEM, "inotify_init1") : TM_OK;
}

int tm_watch_add(int watch, int fd, int *ret, struct tm_error *error)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	*ret = inotify_add_watch(watch, path, IN_MODIFY | IN_OPEN | IN_CLOSE_WRITE | IN_ATTRIB);
	return *ret < 0 ? tm_fail(error, TM_SYSTEM, "inotify_add_watch") : TM_OK;
}
