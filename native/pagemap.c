/* Reading /proc/PID/pagemap: by PAGEMAP_SCAN (Linux 6.7), or entry by entry. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "internal.h"
#include "uapi.h"

enum { REGIONS = 1024, ENTRIES = 4096 };

int tm_view_set(const struct tm_view *view, uint64_t start, uint64_t end, struct tm_bitmap *bitmap,
		struct tm_error *error)
{
	uint64_t size = tm_page_size();
	int code;

	/* A huge page at the edge of a view is reported whole: only the view's part counts. */
	if (start < view->start)
		start = view->start;
	if (end > view->end)
		end = view->end;
	if (start >= end)
		return TM_OK;
	code = tm_bitmap_set(bitmap, view->page + (start - view->start) / size,
			     (end - start) / size);
	return code == TM_OK
		       ? TM_OK
		       : tm_fail(error, code, "mark pages at %#llx", (unsigned long long)start);
}

static int scan_failed(const struct tm_view *view, struct tm_error *error)
{
	switch (errno) {
	case ENOTTY:
		return tm_fail(error, TM_UNSUPPORTED, "PAGEMAP_SCAN: the kernel has none");
	case EINVAL:
		return tm_fail(error, TM_UNSUPPORTED,
			       "PAGEMAP_SCAN: the kernel lacks a page category");
	case EPERM:
		tm_fail(error, TM_CHANGED, "PAGEMAP_SCAN: not under write-protection");
		error->address = view->start;
		return TM_CHANGED;
	default:
		return tm_fail_on(error, 0, "PAGEMAP_SCAN");
	}
}

int tm_pagemap_scan(int pagemap, const struct tm_view *view, struct tm_page_query query,
		    struct tm_bitmap *bitmap, struct tm_error *error)
{
	struct page_region regions[REGIONS];
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.flags = query.flags,
		.start = view->start,
		.end = view->end,
		/* Without a place for results the kernel protects by its shortest way. */
		.vec = bitmap ? (uintptr_t)regions : 0,
		.vec_len = bitmap ? REGIONS : 0,
		.category_mask = query.mask,
		.category_inverted = query.inverted,
		/* The same as the mask, where nothing is inverted: the kernel's fast path. */
		.return_mask = query.mask,
	};

	while (scan.start < scan.end) {
		int count = ioctl(pagemap, PAGEMAP_SCAN, &scan);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return scan_failed(view, error);
		for (int i = 0; i < count; i++) {
			int code =
				tm_view_set(view, regions[i].start, regions[i].end, bitmap, error);

			if (code != TM_OK)
				return code;
		}
		scan.start = scan.walk_end;
	}
	return TM_OK;
}

int tm_pagemap_read(int pagemap, const struct tm_view *view, tm_page_visitor *visit, void *context,
		    struct tm_error *error)
{
	uint64_t entries[ENTRIES];
	uint64_t size = tm_page_size();
	uint64_t count = (view->end - view->start) / size;

	for (uint64_t done = 0; done < count;) {
		uint64_t piece = count - done < ENTRIES ? count - done : ENTRIES;
		int code = tm_pread_all(pagemap, entries, piece * sizeof(entries[0]),
					(view->start / size + done) * sizeof(entries[0]), error);

		if (code == TM_SHORT) /* of memory without users nothing is read */
			return tm_fail(error, TM_GONE, "read a pagemap: its memory is gone");
		if (code != TM_OK)
			return code;
		for (uint64_t i = 0; i < piece; i++)
			visit(view->page + done + i, entries[i], context);
		done += piece;
	}
	return TM_OK;
}

struct present_context {
	struct tm_bitmap *bitmap;
	int code;
};

static void visit_present(uint64_t page, uint64_t entry, void *context)
{
	struct present_context *present = context;

	if (entry & TM_PM_PRESENT && present->code == TM_OK)
		present->code = tm_bitmap_set(present->bitmap, page, 1);
}

int tm_space_present(struct tm_space *space, const struct tm_view *view, struct tm_bitmap *present,
		     struct tm_error *error)
{
	struct tm_page_query query = {.mask = PAGE_IS_PRESENT};
	struct present_context context = {.bitmap = present, .code = TM_OK};
	int code = tm_pagemap_scan(space->pagemap, view, query, present, error);

	if (code != TM_UNSUPPORTED)
		return code;
	code = tm_pagemap_read(space->pagemap, view, visit_present, &context, error);
	if (code == TM_OK && context.code != TM_OK)
		code = tm_fail(error, context.code, "mark pages that are present");
	return code;
}
