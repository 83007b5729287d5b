/* The soft-dirty tracker on another process, where the kernel has soft-dirty bits. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

enum { PAGES = 600 };

static struct tm_space *open_armed(struct check_child *child, unsigned char *memory)
{
	struct tm_span span = {.start = (uintptr_t)memory,
			       .end = (uintptr_t)memory + PAGES * tm_page_size()};
	struct tm_space *space;
	struct tm_error error;

	check_stop(child->pid);
	CHECK_OK(tm_space_open("soft-dirty", check_stopped(child->pid), &space, &error));
	CHECK_OK(tm_space_cover(space, span, &error));
	CHECK_OK(tm_space_arm(space, &span, 1, &error));
	CHECK_OK(tm_tracee_continue(child->pid, 0, &error));
	return space;
}

static void scan(struct tm_space *space, unsigned char *memory, struct tm_bitmap *written,
		 struct tm_bitmap *unsure)
{
	struct tm_view view = {.start = (uintptr_t)memory,
			       .end = (uintptr_t)memory + PAGES * tm_page_size()};
	struct tm_error error;

	CHECK_OK(tm_space_scan(space, &view, false, written, unsure, &error));
	tm_space_close(space);
}

static void touch_all(unsigned char *memory)
{
	volatile unsigned char seen = 0;

	for (size_t page = 0; page < PAGES; page++)
		seen = memory[page * tm_page_size()];
	(void)seen;
}

static void drop_then_store(unsigned char *memory, struct check_child *child)
{
	size_t size = tm_page_size();

	check_wait_go(child);
	touch_all(memory);
	/* Not by leaving it out above: a load brings the entries of the pages around it, too. */
	madvise(memory + 77 * size, size, MADV_DONTNEED);
	check_done(child);
	check_wait_go(child);
	memory[5 * size] = 9;
	memory[(PAGES - 1) * size] = 9;
	check_done(child);
	check_wait_go(child);
}

static void sees_stores_and_is_unsure_of_empty_entries(void)
{
	unsigned char *memory = check_share(PAGES);
	struct tm_bitmap *written = tm_bitmap_create(PAGES), *unsure = tm_bitmap_create(PAGES);
	struct tm_space *space;
	struct check_child child;

	check_start(&child, drop_then_store, memory);
	check_go(&child);
	space = open_armed(&child, memory);
	check_go(&child);
	scan(space, memory, written, unsure);
	CHECK(tm_bitmap_count(written) == 2 && tm_bitmap_test(written, 5));
	CHECK(tm_bitmap_test(written, PAGES - 1));
	CHECK(tm_bitmap_count(unsure) == 1 && tm_bitmap_test(unsure, 77));
	tm_bitmap_destroy(written);
	tm_bitmap_destroy(unsure);
	check_end(&child);
	munmap(memory, PAGES * tm_page_size());
}

static void store_then_drop_and_load(unsigned char *memory, struct check_child *child)
{
	size_t size = tm_page_size();

	check_wait_go(child);
	touch_all(memory);
	check_done(child);
	check_wait_go(child);
	memory[5 * size] = 9;
	madvise(memory + 5 * size, size, MADV_DONTNEED);
	touch_all(memory);
	check_done(child);
	check_wait_go(child);
}

static void tells_of_an_entry_that_was_dropped_with_its_bit(void)
{
	unsigned char *memory = check_share(PAGES);
	struct tm_bitmap *written = tm_bitmap_create(PAGES), *unsure = tm_bitmap_create(PAGES);
	uint64_t size = tm_page_size(), dropped = (uintptr_t)memory + 5 * size;
	struct tm_space *space;
	struct tm_notice notice;
	struct check_child child;

	check_start(&child, store_then_drop_and_load, memory);
	check_go(&child);
	space = open_armed(&child, memory);
	CHECK(write(child.go[1], "", 1) == 1);
	notice = check_notice(space);
	CHECK(notice.kind == TM_NOTICE_GIVEN && notice.start == dropped);
	CHECK(notice.end == dropped + size);
	CHECK(read(child.done[0], &(char){0}, 1) == 1); /* it goes on now */
	scan(space, memory, written, unsure);
	CHECK(!tm_bitmap_test(written, 5) && !tm_bitmap_test(unsure, 5));
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
	tells_of_an_entry_that_was_dropped_with_its_bit();
	return 0;
}
