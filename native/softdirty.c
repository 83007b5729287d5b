/*
 * The soft-dirty tracker: bit 55 of /proc/PID/pagemap, reset by writing 4 to clear_refs
 * (Documentation/admin-guide/mm/soft-dirty.rst). The bit stands in the page table entry,
 * so it goes with the entry: an empty entry of a page that the object holds may hide a
 * write, and the page is unsure.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"
#include "uapi.h"

static int clear_soft_dirty(int tid, struct tm_error *error)
{
	TM_CLEANUP(tm_close) int fd = -1;
	int code = tm_open_proc(tid, "clear_refs", O_WRONLY, &fd, error);

	if (code == TM_OK && write(fd, "4", 1) != 1)
		code = tm_fail_on(error, tid, "reset the soft-dirty bits");
	return code;
}

/* The kernel resets a whole address space at once, whatever the spans are. */
static int arm(struct tm_space *space, const struct tm_span *spans, size_t count,
	       struct tm_error *error)
{
	(void)spans;
	return count ? clear_soft_dirty(space->thread.tid, error) : TM_OK;
}

struct scan_context {
	struct tm_bitmap *written;
	struct tm_bitmap *unsure;
	int code;
};

static void visit(uint64_t page, uint64_t entry, void *context)
{
	struct scan_context *scan = context;

	if (scan->code != TM_OK)
		return;
	if (entry & TM_PM_SOFT_DIRTY)
		scan->code = tm_bitmap_set(scan->written, page, 1);
	else if (!(entry & TM_PM_PRESENT))
		scan->code = tm_bitmap_set(scan->unsure, page, 1);
}

static int scan_by_entry(struct tm_space *space, const struct tm_view *view,
			 struct tm_bitmap *written, struct tm_bitmap *unsure,
			 struct tm_error *error)
{
	struct scan_context context = {.written = written, .unsure = unsure, .code = TM_OK};
	int code = tm_pagemap_read(space->pagemap, view, visit, &context, error);

	if (code == TM_OK && context.code != TM_OK)
		code = tm_fail(error, context.code, "mark soft-dirty pages");
	return code;
}

static int scan(struct tm_space *space, const struct tm_view *view, bool rearm,
		struct tm_bitmap *written, struct tm_bitmap *unsure, struct tm_error *error)
{
	struct tm_page_query dirty = {.mask = PAGE_IS_SOFT_DIRTY};
	struct tm_page_query empty = {
		.mask = PAGE_IS_PRESENT | PAGE_IS_SOFT_DIRTY,
		.inverted = PAGE_IS_PRESENT | PAGE_IS_SOFT_DIRTY,
	};
	int code = tm_pagemap_scan(space->pagemap, view, dirty, written, error);

	(void)rearm;
	if (code == TM_OK)
		code = tm_pagemap_scan(space->pagemap, view, empty, unsure, error);
	if (code == TM_UNSUPPORTED) /* PAGE_IS_SOFT_DIRTY came with Linux 6.8 */
		code = scan_by_entry(space, view, written, unsure, error);
	return code;
}

/* Resets the bits, stores to page 1 of 2, and looks at both. */
static int try_on(unsigned char *memory, struct tm_bitmap *written, struct tm_error *error)
{
	size_t size = tm_page_size();
	struct tm_view view = {.start = (uintptr_t)memory, .end = (uintptr_t)memory + 2 * size};
	TM_CLEANUP(tm_close) int pagemap = -1;
	struct scan_context context = {.written = written, .code = TM_OK};
	struct tm_bitmap *unsure = tm_bitmap_create(2);
	int code = tm_open_proc(getpid(), "pagemap", O_RDONLY, &pagemap, error);

	if (!unsure)
		return tm_fail(error, TM_MEMORY, "try soft-dirty tracking");
	context.unsure = unsure;
	memory[0] = memory[size] = 1;
	if (code == TM_OK)
		code = clear_soft_dirty(getpid(), error);
	memory[size] = 2;
	if (code == TM_OK)
		code = tm_pagemap_read(pagemap, &view, visit, &context, error);
	tm_bitmap_destroy(unsure);
	return code;
}

/* Whether a userfaultfd would give notice of entries that are dropped. */
static int try_notices(unsigned char *memory, struct tm_error *error)
{
	struct tm_space space = {.thread.tid = getpid(), .pagemap = -1, .uffd = -1};
	struct tm_span span = {.start = (uintptr_t)memory,
			       .end = (uintptr_t)memory + 2 * tm_page_size()};
	int code = tm_uffd_open_own(&space, 0, error);

	if (code == TM_OK)
		code = tm_uffd_cover(&space, span, error);
	tm_close(&space.uffd);
	return code;
}

/* Without support clear_refs succeeds all the same: only a real write tells. */
static int probe(struct tm_error *error)
{
	size_t size = 2 * tm_page_size();
	struct tm_bitmap *written = tm_bitmap_create(2);
	unsigned char *memory =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int code;

	if (!written || memory == MAP_FAILED) {
		tm_bitmap_destroy(written);
		return tm_fail(error, TM_MEMORY, "try soft-dirty tracking");
	}
	code = try_on(memory, written, error);
	if (code == TM_OK && !tm_bitmap_test(written, 1))
		code = tm_fail(error, TM_UNSUPPORTED,
			       "a page that was stored to has no soft-dirty bit: the kernel is "
			       "built without CONFIG_MEM_SOFT_DIRTY");
	else if (code == TM_OK && tm_bitmap_test(written, 0))
		code = tm_fail(error, TM_UNSUPPORTED,
			       "a page keeps its soft-dirty bit after the reset");
	if (code == TM_OK)
		code = try_notices(memory, error);
	munmap(memory, size);
	tm_bitmap_destroy(written);
	return code;
}

const struct tm_tracker tm_soft_dirty = {
	.name = "soft-dirty",
	/*
	 * The entry, and the bit with it, also goes with MADV_DONTNEED, and a load brings back a
	 * clean one. So a userfaultfd, which protects nothing, gives notice of that.
	 */
	.features = 0,
	.probe = probe,
	.cover = tm_uffd_cover,
	.arm = arm,
	.scan = scan,
	.notice = tm_uffd_notice,
};
