/* The shared mappings of a process, by PROCMAP_QUERY where the kernel has it, else by text. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"
#include "uapi.h"

struct listing {
	size_t capacity;
	struct tm_mapping *mappings;
	size_t count;
};

static void add(struct listing *listing, const struct tm_mapping *mapping)
{
	if (listing->count < listing->capacity)
		listing->mappings[listing->count] = *mapping;
	listing->count++;
}

static uint32_t protection_of(uint64_t flags)
{
	return (flags & PROCMAP_QUERY_VMA_READABLE ? PROT_READ : 0) |
	       (flags & PROCMAP_QUERY_VMA_WRITABLE ? PROT_WRITE : 0) |
	       (flags & PROCMAP_QUERY_VMA_EXECUTABLE ? PROT_EXEC : 0);
}

/* Keeps as much of a name as there is room for. */
static void set_name(struct tm_mapping *mapping, const char *name, size_t length)
{
	if (length >= sizeof(mapping->name))
		length = sizeof(mapping->name) - 1;
	memcpy(mapping->name, name, length);
	mapping->name[length] = '\0';
}

/*
 * The next shared mapping at or after `address`; false at the end, with errno ENOENT. The kernel
 * gives a name whole or not at all, so there is room for the longest, of which we keep a part.
 */
static bool query_next(int fd, uint64_t address, struct tm_mapping *ret)
{
	char name[PATH_MAX];
	struct procmap_query query = {
		.size = sizeof(query),
		.query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA | PROCMAP_QUERY_VMA_SHARED,
		.query_addr = address,
		.vma_name_addr = (uintptr_t)name,
		.vma_name_size = sizeof(name),
	};

	name[0] = '\0';
	if (ioctl(fd, PROCMAP_QUERY, &query) < 0) {
		if (errno != ENAMETOOLONG)
			return false;
		query.vma_name_addr = 0;
		query.vma_name_size = 0;
		snprintf(name, sizeof(name), "(name too long)");
		if (ioctl(fd, PROCMAP_QUERY, &query) < 0)
			return false;
	}
	set_name(ret, name, strlen(name));
	ret->start = query.vma_start;
	ret->end = query.vma_end;
	ret->offset = query.vma_offset;
	ret->inode = query.inode;
	ret->device_major = query.dev_major;
	ret->device_minor = query.dev_minor;
	ret->protection = protection_of(query.vma_flags);
	ret->page_size = query.vma_page_size;
	return true;
}

static int list_by_query(int fd, int tid, struct listing *listing, struct tm_error *error)
{
	struct tm_mapping mapping;

	for (uint64_t address = 0; query_next(fd, address, &mapping); address = mapping.end)
		add(listing, &mapping);
	if (errno == ENOTTY || errno == EINVAL)
		return tm_fail(error, TM_UNSUPPORTED, "PROCMAP_QUERY");
	if (errno != ENOENT)
		return tm_fail_on(error, tid, "ask for the mappings");
	return TM_OK;
}

/* "start-end perms offset major:minor inode   name"; false where it is not shared. */
bool tm_mapping_parse(const char *line, struct tm_mapping *ret)
{
	char permissions[5];
	int name = 0;
	unsigned long long start, end, offset, inode;

	if (sscanf(line, "%llx-%llx %4s %llx %x:%x %llu %n", &start, &end, permissions, &offset,
		   &ret->device_major, &ret->device_minor, &inode, &name) < 7 ||
	    permissions[3] != 's')
		return false;
	ret->start = start;
	ret->end = end;
	ret->offset = offset;
	ret->inode = inode;
	ret->protection = (permissions[0] == 'r' ? PROT_READ : 0) |
			  (permissions[1] == 'w' ? PROT_WRITE : 0) |
			  (permissions[2] == 'x' ? PROT_EXEC : 0);
	ret->page_size = 0;
	set_name(ret, line + name, strcspn(line + name, "\n"));
	return true;
}

static int list_by_text(int fd, int tid, struct listing *listing, struct tm_error *error)
{
	struct tm_mapping mapping;
	char *line = NULL;
	size_t size = 0;
	FILE *file = fdopen(dup(fd), "r");
	bool failed;

	if (!file)
		return tm_fail_on(error, tid, "read the mappings");
	while (getline(&line, &size, file) >= 0)
		if (tm_mapping_parse(line, &mapping))
			add(listing, &mapping);
	failed = ferror(file) != 0;
	free(line);
	fclose(file);
	return failed ? tm_fail_on(error, tid, "read the mappings") : TM_OK;
}

int tm_maps_shared(int tid, size_t capacity, struct tm_mapping *ret, size_t *ret_count,
		   struct tm_error *error)
{
	TM_CLEANUP(tm_close) int fd = -1;
	struct listing listing = {.capacity = capacity, .mappings = ret};
	int code = tm_open_proc(tid, "maps", O_RDONLY, &fd, error);

	if (code != TM_OK)
		return code;
	code = list_by_query(fd, tid, &listing, error);
	if (code == TM_UNSUPPORTED) {
		listing.count = 0;
		code = list_by_text(fd, tid, &listing, error);
	}
	*ret_count = listing.count;
	return code;
}
