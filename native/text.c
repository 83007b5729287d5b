/*
 * The executable mappings of a process: its vDSO (vdso(7)), wherever that is by now, and the code
 * of its programs. The vector that the process was started with names a place for the vDSO, but a
 * program can move it or unmap it, and have something else there: so the kernel is asked.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"
#include "uapi.h"

enum { READ_PAGES = 4, EXECUTABLE_AT = 2, PRIVATE_AT = 3 };

static const char vdso_name[] = "[vdso]";

ssize_t tm_memory_read(int tid, uint64_t address, void *buffer, size_t size)
{
	struct iovec local = {.iov_base = buffer, .iov_len = size};
	/* One entry per page: a read stops at the first entry that it cannot read. */
	struct iovec remote[READ_PAGES];
	size_t count = 0;

	for (size_t done = 0; done < size && count < READ_PAGES; count++) {
		size_t piece = size - done < 4096 ? size - done : 4096;

		remote[count].iov_base = (void *)(uintptr_t)(address + done);
		remote[count].iov_len = piece;
		done += piece;
	}
	return process_vm_readv(tid, &local, 1, remote, count, 0);
}

/* Where the vDSO was put: getauxval(3). Zero where there is none. */
static uint64_t first_place(int tid)
{
	TM_CLEANUP(tm_close) int fd = -1;
	struct tm_error ignored;
	uint64_t pair[2];

	if (tm_open_proc(tid, "auxv", O_RDONLY, &fd, &ignored) != TM_OK)
		return 0;
	while (read(fd, pair, sizeof(pair)) == sizeof(pair) && pair[0] != AT_NULL)
		if (pair[0] == AT_SYSINFO_EHDR)
			return pair[1];
	return 0;
}

/* Whether the vDSO is at `address`, and executable; false also where the kernel does not tell. */
static bool ask_for_vdso(int maps, uint64_t address, struct tm_text *ret)
{
	char name[PATH_MAX] = "";
	struct procmap_query query = {
		.size = sizeof(query),
		.query_flags = PROCMAP_QUERY_VMA_EXECUTABLE,
		.query_addr = address,
		.vma_name_addr = (uintptr_t)name,
		.vma_name_size = sizeof(name),
	};

	if (!address || ioctl(maps, PROCMAP_QUERY, &query) < 0 || strcmp(name, vdso_name) != 0)
		return false;
	*ret = (struct tm_text){.start = query.vma_start, .end = query.vma_end, .vdso = true};
	return true;
}

/* "start-end perms offset major:minor inode   name" of /proc/PID/maps; false where it is no code.
 */
static bool parse(const char *line, struct tm_text *ret)
{
	char permissions[5];
	unsigned long long start, end;
	int name = 0;

	if (sscanf(line, "%llx-%llx %4s %*s %*s %*s %n", &start, &end, permissions, &name) < 3 ||
	    permissions[EXECUTABLE_AT] != 'x' || permissions[PRIVATE_AT] != 'p' ||
	    permissions[1] == 'w' || !name)
		return false;
	*ret = (struct tm_text){
		.start = start,
		.end = end,
		.vdso = strncmp(line + name, vdso_name, sizeof(vdso_name) - 1) == 0,
	};
	return ret->vdso || line[name] == '/';
}

/* Visits the mappings of code in the order of their addresses: the vDSO alone, or all others. */
static bool visit_listed(FILE *maps, bool vdso, tm_text_visitor *visit, void *context)
{
	TM_CLEANUP(tm_free) char *line = NULL;
	size_t size = 0;
	struct tm_text code;
	bool found = false;

	rewind(maps);
	while (!found && getline(&line, &size, maps) >= 0)
		found = parse(line, &code) && code.vdso == vdso && visit(&code, context);
	return found;
}

bool tm_text_find(int tid, tm_text_visitor *visit, void *context)
{
	struct tm_error ignored;
	struct tm_text vdso;
	FILE *maps;
	int fd;
	bool found;

	if (tm_open_proc(tid, "maps", O_RDONLY, &fd, &ignored) != TM_OK)
		return false;
	if (ask_for_vdso(fd, first_place(tid), &vdso) && visit(&vdso, context)) {
		close(fd);
		return true;
	}
	maps = fdopen(fd, "r");
	if (!maps) {
		close(fd);
		return false;
	}
	found = visit_listed(maps, true, visit, context) ||
		visit_listed(maps, false, visit, context);
	fclose(maps);
	return found;
}

/* The end of a piece of a file, `most` where it would lie beyond. */
static size_t end_within(uint64_t offset, uint64_t size, size_t most)
{
	return offset > most || size > most - offset ? most : (size_t)(offset + size);
}

size_t tm_text_end(const unsigned char *content, size_t size)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	size_t end, of_segment;

	if (size < sizeof(header))
		return size;
	memcpy(&header, content, sizeof(header));
	if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
		return size;
	end = end_within(header.e_shoff, (uint64_t)header.e_shnum * header.e_shentsize, size);
	/* Each of these is what the program says: a sum of them may be anything. */
	if (header.e_phnum && header.e_phoff <= size && size - header.e_phoff >= sizeof(segment)) {
		memcpy(&segment, content + header.e_phoff, sizeof(segment));
		of_segment = end_within(segment.p_offset, segment.p_filesz, size);
		end = of_segment > end ? of_segment : end;
	}
	return end;
}
