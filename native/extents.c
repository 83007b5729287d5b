/* Where the pages of an object are: extents of files, read as one source. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "internal.h"

enum { BUFFER_BYTES = 1 << 16 };

size_t tm_extent_find(const struct tm_source *source, uint64_t page)
{
	size_t low = 0, high = source->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (source->extents[middle].page + source->extents[middle].count <= page)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Whether a descriptor is of the memory of a process: /proc/PID/mem. */
static bool is_memory(int fd)
{
	struct statfs system;

	return fstatfs(fd, &system) == 0 && system.f_type == PROC_SUPER_MAGIC;
}

/*
 * Reads what may be cut off meanwhile. An object gives nothing behind its end, and the memory of a
 * process EIO where it shows that; memory that was taken down gives nothing at all, and that is an
 * error.
 */
static int read_live(int fd, void *buffer, size_t size, uint64_t offset, struct tm_error *error)
{
	unsigned char *ret = buffer;

	while (size) {
		ssize_t got = pread(fd, ret, size, (off_t)offset);
		size_t piece = tm_page_size() - offset % tm_page_size();

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && (errno != EIO || !is_memory(fd)))
			return tm_fail(error, TM_SYSTEM, "read at %#llx",
				       (unsigned long long)offset);
		if (got == 0 && is_memory(fd))
			return tm_fail(error, TM_SHORT, "read at %#llx: the memory is gone",
				       (unsigned long long)offset);
		if (got > 0)
			piece = (size_t)got;
		else
			memset(ret, 0, piece < size ? piece : size);
		piece = piece < size ? piece : size;
		ret += piece;
		offset += piece;
		size -= piece;
	}
	return TM_OK;
}

int tm_pages_read(const struct tm_source *source, uint64_t page, uint64_t count, unsigned char *ret,
		  struct tm_error *error)
{
	uint64_t size = tm_page_size();
	uint64_t end = page + count;

	for (size_t i = tm_extent_find(source, page); page < end; i++) {
		const struct tm_extent *extent = i < source->count ? &source->extents[i] : NULL;
		uint64_t start = extent && extent->page < end ? extent->page : end;
		uint64_t piece;
		int code;

		if (page < start) {
			memset(ret, 0, (start - page) * size);
			ret += (start - page) * size;
			page = start;
		}
		if (page == end)
			break;
		piece = extent->page + extent->count < end ? extent->page + extent->count : end;
		piece -= page;
		code = (source->live ? read_live : tm_pread_all)(
			extent->fd, ret, piece * size,
			extent->offset + (page - extent->page) * size, error);
		if (code != TM_OK)
			return code;
		ret += piece * size;
		page += piece;
	}
	return TM_OK;
}

/* What stands in a file from `offset` on, to where `out` stands, by a buffer of ours. */
static int copy_some(int fd, uint64_t offset, uint64_t bytes, int out, struct tm_error *error)
{
	unsigned char buffer[BUFFER_BYTES];

	while (bytes) {
		size_t piece = bytes < sizeof(buffer) ? bytes : sizeof(buffer);
		int code = tm_pread_all(fd, buffer, piece, offset, error);

		if (code == TM_OK)
			code = tm_write_all(out, buffer, piece, error);
		if (code != TM_OK)
			return code;
		offset += piece;
		bytes -= piece;
	}
	return TM_OK;
}

/* The same by the kernel, from page to page; what has no pages of its own is read and written. */
static int send_some(int fd, uint64_t offset, uint64_t bytes, int out, struct tm_error *error)
{
	off_t at = (off_t)offset;

	while (bytes) {
		ssize_t sent = sendfile(out, fd, &at, bytes);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && (errno == EINVAL || errno == ENOSYS))
			return copy_some(fd, (uint64_t)at, bytes, out, error);
		if (sent < 0)
			return tm_fail(error, TM_SYSTEM, "copy what stands at %#llx",
				       (unsigned long long)at);
		if (sent == 0)
			return tm_fail(error, TM_SHORT, "read at %#llx: end of file",
				       (unsigned long long)at);
		bytes -= (uint64_t)sent;
	}
	return TM_OK;
}

static int transfer_run(const struct tm_source *source, struct tm_run run, int out,
			struct tm_error *error)
{
	uint64_t size = tm_page_size(), end = run.first + run.count;

	for (size_t i = tm_extent_find(source, run.first); i < source->count; i++) {
		const struct tm_extent *extent = &source->extents[i];
		uint64_t first = extent->page > run.first ? extent->page : run.first;
		uint64_t stop = extent->page + extent->count;
		int code;

		if (first >= end)
			break;
		if (stop > end)
			stop = end;
		if (lseek(out, (off_t)(first * size), SEEK_SET) < 0)
			return tm_fail(error, TM_SYSTEM, "seek to page %llu",
				       (unsigned long long)first);
		code = send_some(extent->fd, extent->offset + (first - extent->page) * size,
				 (stop - first) * size, out, error);
		if (code != TM_OK)
			return code;
	}
	return TM_OK;
}

int tm_pages_transfer(const struct tm_source *source, const struct tm_bitmap *which, int out,
		      struct tm_error *error)
{
	struct tm_run run = {0};

	while (tm_bitmap_next(which, run.first + run.count, &run)) {
		int code = transfer_run(source, run, out, error);

		if (code != TM_OK)
			return code;
	}
	return TM_OK;
}

size_t tm_extents_packed(const struct tm_bitmap *which, const struct tm_bitmap *packed, int fd,
			 uint64_t offset, size_t capacity, struct tm_extent *ret)
{
	struct tm_run run = {0};
	size_t found = 0;

	for (; tm_bitmap_next(packed, run.first + run.count, &run);
	     offset += run.count * tm_page_size()) {
		struct tm_run part = {.first = run.first};

		while (tm_bitmap_next(which, part.first + part.count, &part) &&
		       part.first < run.first + run.count) {
			if (found < capacity)
				ret[found] = (struct tm_extent){
					.page = part.first,
					.count = part.count,
					.offset =
						offset + (part.first - run.first) * tm_page_size(),
					.fd = fd};
			found++;
		}
	}
	return found;
}

static int by_page(const void *one, const void *other)
{
	uint64_t a = ((const struct tm_extent *)one)->page;
	uint64_t b = ((const struct tm_extent *)other)->page;

	return (a > b) - (a < b);
}

void tm_extents_sort(struct tm_extent *extents, size_t count)
{
	qsort(extents, count, sizeof(*extents), by_page);
}
