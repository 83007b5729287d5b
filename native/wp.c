/*
 * The uffd-wp tracker: userfaultfd write-protection in asynchronous mode (Linux 6.7).
 *
 * The kernel itself resolves a write to a protected page by taking the protection away;
 * PAGEMAP_SCAN reports what has none, as PAGE_IS_WRITTEN. The userfaultfd belongs to the
 * target's address space but only we hold a descriptor of it, so when we go the target
 * runs on untouched: Documentation/admin-guide/mm/userfaultfd.rst, pagemap.rst.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"
#include "uapi.h"

static int protect(int pagemap, struct tm_span span, struct tm_error *error)
{
	struct tm_page_query query = {
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.mask = PAGE_IS_WRITTEN,
	};
	struct tm_view view = {.start = span.start, .end = span.end};

	return tm_pagemap_scan(pagemap, &view, query, NULL, error);
}

/*
 * PAGEMAP_SCAN of memory that was taken down finds nothing, without an error on some kernels (seen
 * on Linux 6.18.44). A read from the same file says so: it gives nothing.
 */
static int check_alive(const struct tm_space *space, uint64_t address, struct tm_error *error)
{
	uint64_t entry;
	off_t offset = (off_t)(address / tm_page_size() * sizeof(entry));
	ssize_t size = pread(space->pagemap, &entry, sizeof(entry), offset);

	if (size == sizeof(entry))
		return TM_OK;
	if (size < 0)
		return tm_fail_on(error, space->thread.tid, "read a page map");
	tm_fail(error, TM_GONE, "its memory is gone");
	error->pid = space->thread.tid;
	return TM_GONE;
}

static int arm(struct tm_space *space, const struct tm_span *spans, size_t count,
	       struct tm_error *error)
{
	for (size_t i = 0; i < count; i++) {
		int code = protect(space->pagemap, spans[i], error);

		if (code != TM_OK)
			return code;
	}
	return count ? check_alive(space, spans[0].start, error) : TM_OK;
}

/* Nothing is ever unsure: what has no protection, an empty entry included, counts as written. */
static int scan(struct tm_space *space, const struct tm_view *view, bool rearm,
		struct tm_bitmap *written, struct tm_bitmap *unsure, struct tm_error *error)
{
	struct tm_page_query query = {
		.flags = PM_SCAN_CHECK_WPASYNC | (rearm ? PM_SCAN_WP_MATCHING : 0),
		.mask = PAGE_IS_WRITTEN,
	};

	int code = tm_pagemap_scan(space->pagemap, view, query, written, error);

	(void)unsure;
	return code == TM_OK ? check_alive(space, view->start, error) : code;
}

/* The probe's own space: three pages of a memory file, in this process. */
struct trial {
	struct tm_space space;
	unsigned char *memory;
	struct tm_view view;
};

enum { TRIAL_PAGES = 3 };

static void trial_deinit(struct trial *trial)
{
	tm_close(&trial->space.uffd);
	tm_close(&trial->space.pagemap);
	if (trial->memory != MAP_FAILED)
		munmap(trial->memory, TRIAL_PAGES * tm_page_size());
}

static int trial_init(struct trial *trial, struct tm_error *error)
{
	size_t size = TRIAL_PAGES * tm_page_size();
	int code;

	*trial = (struct trial){.space = {.thread.tid = getpid(), .pagemap = -1, .uffd = -1}};
	trial->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (trial->memory == MAP_FAILED)
		return tm_fail(error, TM_SYSTEM, "map memory to try write-protection on");
	trial->view.start = (uintptr_t)trial->memory;
	trial->view.end = trial->view.start + size;
	code = tm_open_proc(getpid(), "pagemap", O_RDONLY, &trial->space.pagemap, error);
	/* Without notices: nobody would read them while this thread waits. */
	return code == TM_OK ? tm_uffd_open_own(&trial->space, UFFD_FEATURE_WP_ASYNC, error) : code;
}

/* Stores to page 0, stores to page 1 and drops its entry, and leaves page 2 alone. */
static int trial_write(struct trial *trial, struct tm_error *error)
{
	struct tm_span span = {.start = trial->view.start, .end = trial->view.end};
	size_t size = tm_page_size();
	int code;

	for (size_t page = 0; page < TRIAL_PAGES; page++)
		trial->memory[page * size] = 1;
	code = tm_uffd_cover(&trial->space, span, error);
	if (code == TM_OK)
		code = arm(&trial->space, &span, 1, error);
	if (code != TM_OK)
		return code;
	trial->memory[0] = 2;
	trial->memory[size] = 2;
	madvise(trial->memory + size, size, MADV_DONTNEED);
	return TM_OK;
}

static bool saw_the_writes(const struct tm_bitmap *written)
{
	return tm_bitmap_test(written, 0) && tm_bitmap_test(written, 1) &&
	       !tm_bitmap_test(written, 2);
}

/* Scans as in an epoch: what is reported is forgotten, and a second scan finds nothing. */
static int try_tracking(struct trial *trial, struct tm_bitmap *written, struct tm_error *error)
{
	int code = scan(&trial->space, &trial->view, true, written, NULL, error);

	/* Some kernels lose a written page whose entry vanished: then we must not trust them. */
	if (code == TM_OK && !saw_the_writes(written))
		return tm_fail(error, TM_UNSUPPORTED, "write-protection reported the wrong pages");
	tm_bitmap_clear(written, 0, TRIAL_PAGES);
	if (code == TM_OK)
		code = scan(&trial->space, &trial->view, false, written, NULL, error);
	if (code == TM_OK && tm_bitmap_count(written))
		return tm_fail(error, TM_UNSUPPORTED, "write-protection reported a page twice");
	return code;
}

/* Asks for more than one category, which takes another way through the kernel. */
static int try_general_scan(struct trial *trial, struct tm_bitmap *written, struct tm_error *error)
{
	struct tm_page_query query = {.mask = PAGE_IS_WRITTEN | PAGE_IS_WPALLOWED};
	int code = tm_pagemap_scan(trial->space.pagemap, &trial->view, query, written, error);

	if (code == TM_OK && !saw_the_writes(written))
		return tm_fail(error, TM_UNSUPPORTED,
			       "a written page whose entry vanished is not reported");
	return code;
}

typedef int trial_body(struct trial *trial, struct tm_bitmap *written, struct tm_error *error);

static int run_trial(trial_body *body, struct tm_error *error)
{
	TM_CLEANUP(trial_deinit) struct trial trial;
	struct tm_bitmap *written = tm_bitmap_create(TRIAL_PAGES);
	int code = trial_init(&trial, error);

	if (!written)
		return tm_fail(error, TM_MEMORY, "try write-protection");
	if (code == TM_OK)
		code = trial_write(&trial, error);
	if (code == TM_OK)
		code = body(&trial, written, error);
	tm_bitmap_destroy(written);
	return code;
}

static int probe(struct tm_error *error)
{
	return run_trial(try_tracking, error);
}

int tm_general_scan_probe(struct tm_error *error)
{
	return run_trial(try_general_scan, error);
}

const struct tm_tracker tm_uffd_wp = {
	.name = "uffd-wp",
	.features = UFFD_FEATURE_WP_ASYNC,
	.probe = probe,
	.cover = tm_uffd_cover,
	.arm = arm,
	.scan = scan,
	.notice = tm_uffd_notice,
};
