/* The soft-dirty tracker on another process, where the kernel has soft-dirty bits. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

enum { PAGES = 600 };

static void touch_all_then_store(unsigned char *memory, struct check_child *child)
{
	size_t size = tm_page_size();
	volatile unsigned char seen = 0;

	for (size_t page = 0; page < PAGES; page++)
		seen = memory[page * size];
	(void)seen;
	for (;;) {
		check_wait_go(child);
		/* A load would not do: it brings the entries of the pages around it, too. */
		madvise(memory + 77 * size, size, MADV_DONTNEED);
		memory[5 * size] = 9;
		memory[(PAGES - 1) * size] = 9;
		check_done(child);
	}
}

static void sees_stores_and_is_unsure_of_empty_entries(void)
{
	unsigned char *memory = check_share(PAGES);
	struct tm_view view = {.start = (uintptr_t)memory,
			       .end = (uintptr_t)memory + PAGES * tm_page_size()};
	struct tm_span span = {view.start, view.end};
	struct tm_bitmap *written = tm_bitmap_create(PAGES), *unsure = tm_bitmap_create(PAGES);
	struct tm_space *space;
	struct tm_error error;
	struct check_child child;

	check_start(&child, touch_all_then_store, memory);
	check_go(&child);
	CHECK_OK(tm_space_open("soft-dirty", check_stopped(child.pid), &space, &error));
	CHECK_OK(tm_space_cover(space, span, &error));
	CHECK_OK(tm_space_arm(space, &span, 1, &error));
	check_go(&child);
	CHECK_OK(tm_space_scan(space, &view, false, written, unsure, &error));
	CHECK(tm_bitmap_count(written) == 2 && tm_bitmap_test(written, 5));
	CHECK(tm_bitmap_test(written, PAGES - 1));
	CHECK(tm_bitmap_count(unsure) == 1 && tm_bitmap_test(unsure, 77));
	tm_space_close(space);
	tm_bitmap_destroy(written);
	tm_bitmap_destroy(unsure);
	check_end(&child);
	munmap(memory, PAGES * tm_page_size());
}

int main(void)
{
	struct tm_error error;

	if (tm_tracker_probe("soft-dirty", &error) != TM_OK) {
		CHECK(error.what[0] != '\0');
		printf("skipped: soft-dirty: %s\n", error.what);
		return 0;
	}
	sees_stores_and_is_unsure_of_empty_entries();
	return 0;
}
