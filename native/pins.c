/*
 * Whether the kernel holds pages for anybody: pages that are pinned (pin_user_pages()), of which
 * the content may come past the page table, are counted for the whole machine.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

enum { TEXT_BYTES = 16384 };

/* A number of /proc/vmstat, whose lines are "name number"; 0 where there is none of that name. */
static uint64_t number_of(const char *text, const char *name)
{
	const char *found = strstr(text, name);

	return found ? strtoull(found + strlen(name), NULL, 10) : 0;
}

static int read_file(const char *path, char *text, size_t size, struct tm_error *error)
{
	TM_CLEANUP(tm_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got, done = 0;

	if (fd < 0)
		return tm_fail_on(error, 0, "open %s", path);
	while ((got = read(fd, text + done, size - 1 - (size_t)done)) > 0)
		done += got;
	if (got < 0)
		return tm_fail_on(error, 0, "read %s", path);
	text[done] = '\0';
	return TM_OK;
}

int tm_pins_outstanding(bool *ret, struct tm_error *error)
{
	char text[TEXT_BYTES];
	/* The counts of each processor are added up by that: Documentation/admin-guide/sysctl/vm.
	 */
	int code = read_file("/proc/sys/vm/stat_refresh", text, sizeof(text), error);

	if (code == TM_OK)
		code = read_file("/proc/vmstat", text, sizeof(text), error);
	if (code == TM_OK)
		*ret = number_of(text, "\nnr_foll_pin_acquired ") !=
		       number_of(text, "\nnr_foll_pin_released ");
	return code;
}
