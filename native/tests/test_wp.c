/* The uffd-wp tracker on another process: what is seen, and that nothing is left behind. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"

enum { PAGES = 600 };

static void store_when_told(unsigned char *memory, struct check_child *child)
{
	size_t size = tm_page_size();
	volatile unsigned char seen = 0;

	for (;;) {
		check_wait_go(child);
		memory[3 * size] = 9;
		for (size_t page = 100; page < 200; page++)
			memory[page * size + 1] = 9;
		memory[(PAGES - 1) * size] = 9;
		seen = memory[50 * size]; /* a read is not a write */
		(void)seen;
		check_done(child);
	}
}

static struct tm_view view_of(const unsigned char *memory, uint64_t first, uint64_t count)
{
	uint64_t start = (uintptr_t)memory + first * tm_page_size();

	return (struct tm_view){
		.start = start, .end = start + count * tm_page_size(), .page = first};
}

static struct tm_span span_of(const unsigned char *memory)
{
	return (struct tm_span){(uintptr_t)memory, (uintptr_t)memory + PAGES * tm_page_size()};
}

static struct tm_space *open_armed(pid_t pid, const unsigned char *memory)
{
	struct tm_space *space;
	struct tm_span span = span_of(memory);
	struct tm_error error;

	CHECK_OK(tm_space_open("uffd-wp", check_stopped(pid), &space, &error));
	CHECK_OK(tm_space_cover(space, span, &error));
	CHECK_OK(tm_space_arm(space, &span, 1, &error));
	return space;
}

static void let_it_store(struct check_child *child)
{
	struct tm_error error;
	struct tm_event event;

	CHECK_OK(tm_tracee_continue(child->pid, 0, &error));
	check_go(child);
	CHECK_OK(tm_tracee_interrupt(child->pid, &error));
	CHECK_OK(tm_tracee_wait(child->pid, true, &event, &error));
	CHECK(event.kind == TM_EVENT_STOPPED);
}

static void sees_exactly_the_pages_that_were_stored_to(void)
{
	unsigned char *memory = check_share(PAGES);
	struct check_child child;
	struct tm_bitmap *written = tm_bitmap_create(PAGES);
	struct tm_view view = view_of(memory, 0, PAGES);
	struct tm_span span = span_of(memory);
	struct tm_space *space;
	struct tm_error error;

	check_start(&child, store_when_told, memory);
	check_stop(child.pid);
	space = open_armed(child.pid, memory);
	CHECK_OK(tm_space_scan(space, &view, false, written, NULL, &error));
	CHECK(tm_bitmap_count(written) == 0);
	let_it_store(&child);
	CHECK_OK(tm_space_scan(space, &view, false, written, NULL, &error));
	CHECK(tm_bitmap_count(written) == 102 && tm_bitmap_test(written, 3));
	CHECK(tm_bitmap_test(written, 100) && tm_bitmap_test(written, 199));
	CHECK(tm_bitmap_test(written, PAGES - 1) && !tm_bitmap_test(written, 50));
	tm_bitmap_clear(written, 0, PAGES);
	CHECK_OK(tm_space_arm(space, &span, 1, &error));
	CHECK_OK(tm_space_scan(space, &view, false, written, NULL, &error));
	CHECK(tm_bitmap_count(written) == 0);
	let_it_store(&child);
	CHECK_OK(tm_space_scan(space, &view, true, written, NULL, &error));
	CHECK(tm_bitmap_count(written) == 102);
	tm_bitmap_clear(written, 0, PAGES);
	CHECK_OK(tm_space_scan(space, &view, true, written, NULL, &error));
	CHECK(tm_bitmap_count(written) == 0);
	tm_space_close(space);
	tm_bitmap_destroy(written);
	check_end(&child);
	munmap(memory, PAGES * tm_page_size());
}

static void opens_and_scans_several_spaces_at_once(void)
{
	unsigned char *memory = check_share(PAGES);
	struct tm_view whole = view_of(memory, 0, PAGES);
	struct tm_view halves[] = {view_of(memory, 0, PAGES / 2),
				   view_of(memory, PAGES / 2, PAGES - PAGES / 2)};
	struct check_child children[3];
	struct tm_opening openings[4] = {0};
	struct tm_span span = span_of(memory);
	struct tm_scan scans[3];
	bool changed[3][2];
	struct tm_pool *pool;
	struct tm_error error;

	CHECK_OK(tm_pool_create(1, &pool, &error));
	for (int i = 0; i < 3; i++) {
		check_start(&children[i], store_when_told, memory);
		check_stop(children[i].pid);
		openings[i].thread = check_stopped(children[i].pid);
	}
	openings[3].thread.tid = openings[3].thread.pid = 1 << 30; /* there is none */
	tm_space_open_all("uffd-wp", openings, 4);
	CHECK(openings[3].code == TM_GONE && !openings[3].space);
	for (int i = 0; i < 3; i++) {
		error = openings[i].error;
		CHECK_OK(openings[i].code);
		CHECK_OK(tm_space_cover(openings[i].space, span, &error));
		CHECK_OK(tm_space_arm(openings[i].space, &span, 1, &error));
		scans[i] = (struct tm_scan){.space = openings[i].space,
					    .views = i ? halves : &whole,
					    .count = i ? 2 : 1,
					    .rearm = true,
					    .written = tm_bitmap_create(PAGES),
					    .changed = changed[i]};
	}
	let_it_store(&children[1]);
	for (int round = 0; round < 2; round++) {
		tm_scan_all(pool, scans, 3);
		for (int i = 0; i < 3; i++) {
			CHECK(scans[i].code == TM_OK && !changed[i][0]);
			CHECK(tm_bitmap_count(scans[i].written) == (i == 1 ? 102 : 0));
		}
		CHECK(!changed[1][1]);
	}
	check_end(&children[0]); /* a space whose memory is gone harms no other scan */
	tm_scan_all(pool, scans, 3);
	CHECK(scans[0].code == TM_GONE && scans[1].code == TM_OK && scans[2].code == TM_OK);
	for (int i = 0; i < 3; i++) {
		tm_space_close(scans[i].space);
		tm_bitmap_destroy(scans[i].written);
		if (i > 0)
			check_end(&children[i]);
	}
	tm_pool_destroy(pool);
	munmap(memory, PAGES * tm_page_size());
}

static void a_view_reports_only_its_own_pages(void)
{
	unsigned char *memory = check_share(PAGES);
	struct check_child child;
	struct tm_bitmap *written = tm_bitmap_create(PAGES);
	struct tm_view view = view_of(memory, 150, 100);
	struct tm_space *space;
	struct tm_error error;

	check_start(&child, store_when_told, memory);
	check_stop(child.pid);
	space = open_armed(child.pid, memory);
	let_it_store(&child);
	CHECK_OK(tm_space_scan(space, &view, false, written, NULL, &error));
	CHECK(tm_bitmap_count(written) == 50);
	view.page = PAGES - 40; /* a bitmap too short for the view */
	CHECK(tm_space_scan(space, &view, false, written, NULL, &error) == TM_BOUNDS);
	tm_space_close(space);
	tm_bitmap_destroy(written);
	check_end(&child);
	munmap(memory, PAGES * tm_page_size());
}

static void sees_writes_that_the_kernel_makes(void)
{
	unsigned char *memory = check_share(PAGES);
	size_t size = tm_page_size();
	struct check_child child;
	struct tm_bitmap *written = tm_bitmap_create(PAGES);
	struct tm_view view = view_of(memory, 0, PAGES);
	struct iovec local = {.iov_base = "x", .iov_len = 1};
	struct iovec remote = {.iov_base = memory + 7 * size, .iov_len = 1};
	struct tm_space *space;
	struct tm_error error;

	check_start(&child, store_when_told, memory);
	check_stop(child.pid);
	space = open_armed(child.pid, memory);
	CHECK(process_vm_writev(child.pid, &local, 1, &remote, 1, 0) == 1);
	CHECK_OK(tm_space_scan(space, &view, false, written, NULL, &error));
	CHECK(tm_bitmap_count(written) == 1 && tm_bitmap_test(written, 7));
	tm_space_close(space);
	tm_bitmap_destroy(written);
	check_end(&child);
	munmap(memory, PAGES * size);
}

static void map_over_a_part(unsigned char *memory, struct check_child *child)
{
	size_t size = tm_page_size();

	check_wait_go(child);
	memory[10 * size] = 9;
	if (mmap(memory + 10 * size, size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		_exit(1);
	check_done(child);
	pause();
}

static void says_that_a_mapping_is_not_covered_any_more(void)
{
	unsigned char *memory = check_share(PAGES);
	struct check_child child;
	struct tm_bitmap *written = tm_bitmap_create(PAGES);
	struct tm_view replaced = view_of(memory, 10, 1), rest = view_of(memory, 11, PAGES - 11);
	struct tm_space *space;
	struct tm_notice notice;
	struct tm_error error;

	check_start(&child, map_over_a_part, memory);
	check_stop(child.pid);
	space = open_armed(child.pid, memory);
	CHECK_OK(tm_tracee_continue(child.pid, 0, &error));
	CHECK(write(child.go[1], "", 1) == 1);
	notice = check_notice(space);
	CHECK(notice.kind == TM_NOTICE_UNMAPPED && notice.start == replaced.start);
	CHECK(read(child.done[0], &(char){0}, 1) == 1);
	CHECK(tm_space_scan(space, &replaced, false, written, NULL, &error) == TM_CHANGED);
	CHECK(error.address == replaced.start);
	CHECK_OK(tm_space_scan(space, &rest, false, written, NULL, &error));
	CHECK(tm_bitmap_count(written) == 0);
	tm_space_close(space);
	tm_bitmap_destroy(written);
	check_end(&child);
	munmap(memory, PAGES * tm_page_size());
}

static int count_descriptors(pid_t pid)
{
	char path[64];
	DIR *directory;
	int count = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	directory = opendir(path);
	CHECK(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static void leaves_nothing_in_the_target(void)
{
	unsigned char *memory = check_share(PAGES);
	struct check_child child, second;
	struct tm_space *space, *again;
	struct tm_span span = span_of(memory);
	struct tm_error error;
	int before;

	check_start(&child, store_when_told, memory);
	check_start(&second, store_when_told, memory);
	before = count_descriptors(child.pid);
	check_stop(child.pid);
	space = open_armed(child.pid, memory);
	CHECK(count_descriptors(child.pid) == before);
	/* A second tracker is refused, not silently robbed. */
	CHECK_OK(tm_space_open("uffd-wp", check_stopped(child.pid), &again, &error));
	CHECK(tm_space_cover(again, span, &error) == TM_TRACED);
	tm_space_close(again);
	tm_space_close(space);
	/* When the first has gone, the field is free. */
	space = open_armed(child.pid, memory);
	tm_space_close(space);
	CHECK_OK(tm_tracee_detach(child.pid, 0, &error));
	check_go(&child);
	CHECK(count_descriptors(child.pid) == before);
	check_end(&child);
	check_end(&second);
	munmap(memory, PAGES * tm_page_size());
}

static void tells_which_pages_the_page_table_holds(void)
{
	unsigned char *memory = check_share(PAGES);
	struct check_child child;
	struct tm_bitmap *present = tm_bitmap_create(PAGES);
	struct tm_view view = view_of(memory, 0, PAGES);
	struct tm_space *space;
	struct tm_error error;

	check_start(&child, store_when_told, memory);
	check_stop(child.pid);
	space = open_armed(child.pid, memory);
	let_it_store(&child);
	/* Markers of protection in empty entries must not look like pages. */
	CHECK_OK(tm_space_present(space, &view, present, &error));
	CHECK(tm_bitmap_test(present, 3) && tm_bitmap_test(present, 150));
	CHECK(tm_bitmap_test(present, 50) && tm_bitmap_count(present) < PAGES);
	tm_space_close(space);
	tm_bitmap_destroy(present);
	check_end(&child);
	munmap(memory, PAGES * tm_page_size());
}

static void tells_which_pages_the_object_holds(void)
{
	unsigned char *memory = check_share(PAGES);
	size_t size = tm_page_size();
	struct check_child child;
	struct tm_bitmap *resident = tm_bitmap_create(PAGES);
	struct tm_view view = view_of(memory, 0, PAGES);
	struct tm_error error;

	CHECK(madvise(memory + 20 * size, 30 * size, MADV_REMOVE) == 0);
	check_start(&child, store_when_told, memory);
	check_stop(child.pid);
	CHECK_OK(tm_tracee_resident(check_stopped(child.pid), &view, resident, &error));
	CHECK(tm_bitmap_count(resident) == PAGES - 30 && !tm_bitmap_test(resident, 49));
	CHECK(tm_bitmap_test(resident, 50) && !tm_bitmap_test(resident, 20));
	tm_bitmap_destroy(resident);
	check_end(&child);
	munmap(memory, PAGES * size);
}

/* Shows page 3 a second time, stores to it there, and takes the second mapping away. */
static void store_beside(unsigned char *memory, struct check_child *child)
{
	size_t size = tm_page_size();
	unsigned char *second;

	check_wait_go(child);
	second = mremap(memory + 3 * size, 0, size, MREMAP_MAYMOVE);
	if (second != MAP_FAILED) {
		second[0] = 7;
		munmap(second, size);
	}
	madvise(memory + 5 * size, 2 * size, MADV_REMOVE);
	check_done(child);
	check_wait_go(child);
}

static void tells_of_what_no_scan_shows(void)
{
	unsigned char *memory = check_share(PAGES);
	uint64_t start = (uintptr_t)memory, size = tm_page_size();
	struct check_child child;
	struct tm_space *space;
	struct tm_notice notice;
	struct tm_error error;

	check_start(&child, store_beside, memory);
	check_stop(child.pid);
	space = open_armed(child.pid, memory);
	CHECK_OK(tm_space_notice(space, &notice, &error));
	CHECK(notice.kind == TM_NOTICE_NONE);
	CHECK_OK(tm_tracee_continue(child.pid, 0, &error));
	CHECK(write(child.go[1], "", 1) == 1);
	notice = check_notice(space);
	CHECK(notice.kind == TM_NOTICE_MOVED && notice.start == start + 3 * size);
	notice = check_notice(space);
	CHECK(notice.kind == TM_NOTICE_UNMAPPED && notice.end == notice.start + size);
	notice = check_notice(space);
	CHECK(notice.kind == TM_NOTICE_GIVEN && notice.start == start + 5 * size);
	CHECK(notice.end == start + 7 * size);
	CHECK(read(child.done[0], &(char){0}, 1) == 1); /* it goes on now */
	CHECK(memory[3 * size] == 7);
	tm_space_close(space);
	check_end(&child);
	munmap(memory, PAGES * tm_page_size());
}

/* Ends when told, after it has stored. */
static void store_and_end(unsigned char *memory, struct check_child *child)
{
	check_wait_go(child);
	memory[0] = 9;
	_exit(0);
}

static void does_not_take_dead_memory_for_clean(void)
{
	unsigned char *memory = check_share(PAGES);
	struct check_child child;
	struct tm_bitmap *written = tm_bitmap_create(PAGES);
	struct tm_view view = view_of(memory, 0, PAGES);
	struct tm_space *space;
	struct tm_event event;
	struct tm_error error;

	check_start(&child, store_and_end, memory);
	check_stop(child.pid);
	space = open_armed(child.pid, memory);
	CHECK_OK(tm_tracee_continue(child.pid, 0, &error));
	CHECK(write(child.go[1], "", 1) == 1);
	CHECK_OK(tm_tracee_wait(child.pid, true, &event, &error));
	CHECK(event.kind == TM_EVENT_EXITING);
	CHECK_OK(tm_space_scan(space, &view, false, written, NULL, &error));
	CHECK(tm_bitmap_count(written) == 1);
	CHECK_OK(tm_tracee_continue(child.pid, 0, &error));
	CHECK_OK(tm_tracee_wait(child.pid, true, &event, &error));
	CHECK(event.kind == TM_EVENT_ENDED);
	CHECK(tm_space_scan(space, &view, true, written, NULL, &error) == TM_GONE);
	tm_space_close(space);
	tm_bitmap_destroy(written);
	check_end(&child);
	munmap(memory, PAGES * tm_page_size());
}

int main(void)
{
	struct tm_error error;

	if (tm_tracker_probe("uffd-wp", &error) != TM_OK) {
		printf("skipped: uffd-wp: %s\n", error.what);
		return 0;
	}
	sees_exactly_the_pages_that_were_stored_to();
	opens_and_scans_several_spaces_at_once();
	a_view_reports_only_its_own_pages();
	sees_writes_that_the_kernel_makes();
	says_that_a_mapping_is_not_covered_any_more();
	leaves_nothing_in_the_target();
	tells_which_pages_the_page_table_holds();
	tells_which_pages_the_object_holds();
	tells_of_what_no_scan_shows();
	does_not_take_dead_memory_for_clean();
	return 0;
}
