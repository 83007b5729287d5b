/* What a file holds: pages with data, and what stands behind its end. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

/* Adds to `data` the pages from byte `start` up to byte `end` that hold data. */
static int find_data(int fd, off_t start, off_t end, struct tm_bitmap *data, struct tm_error *error)
{
	uint64_t size = tm_page_size();

	/* lseek(2): SEEK_DATA finds pages in memory and in swap; ENXIO: only holes follow. */
	while (start < end) {
		off_t stop;
		int code;

		start = lseek(fd, start, SEEK_DATA);
		if (start < 0 && errno == ENXIO)
			break;
		if (start >= end)
			break;
		stop = start < 0 ? start : lseek(fd, start, SEEK_HOLE);
		if (stop < 0 && errno == ENXIO)
			break; /* it was cut off in between */
		if (stop < 0)
			return tm_fail(error, TM_SYSTEM, "look for data");
		if (stop > end)
			stop = end;
		code = tm_bitmap_set(data, (uint64_t)start / size,
				     ((uint64_t)stop + size - 1) / size - (uint64_t)start / size);
		if (code != TM_OK)
			return tm_fail(error, code, "mark data at %#llx",
				       (unsigned long long)start);
		start = stop;
	}
	return TM_OK;
}

int tm_pages_data(int fd, struct tm_bitmap *data, struct tm_error *error)
{
	return find_data(fd, 0, (off_t)(tm_bitmap_pages(data) * tm_page_size()), data, error);
}

int tm_pages_born(int fd, const struct tm_bitmap *data, struct tm_bitmap *born,
		  struct tm_error *error)
{
	uint64_t size = tm_page_size();
	uint64_t page = 0, end = tm_bitmap_pages(born);
	struct tm_run known;

	while (page < end) {
		uint64_t gap_end = end;
		int code;

		if (!tm_bitmap_next(data, page, &known))
			known = (struct tm_run){.first = end};
		if (known.first < gap_end)
			gap_end = known.first;
		code = find_data(fd, (off_t)(page * size), (off_t)(gap_end * size), born, error);
		if (code != TM_OK)
			return code;
		page = known.first + known.count;
	}
	return TM_OK;
}

int tm_page_mapped(int fd, uint64_t page, unsigned char *ret, struct tm_error *error)
{
	uint64_t size = tm_page_size();
	void *memory = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, (off_t)(page * size));
	const struct tm_window window = {.memory = memory, .pages = 1};
	struct tm_bitmap *which;
	int code = TM_MEMORY;

	if (memory == MAP_FAILED)
		return tm_fail(error, TM_SYSTEM, "map page %llu", (unsigned long long)page);
	which = tm_bitmap_create(1);
	if (which && tm_bitmap_set(which, 0, 1) == TM_OK)
		code = tm_window_copy(&window, which, ret, error);
	else
		tm_fail(error, code, "map page %llu", (unsigned long long)page);
	tm_bitmap_destroy(which);
	munmap(memory, size);
	return code;
}
