/* Reading, packing, placing, hashing and comparing, on memory files with known content. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

enum { PAGES = 700 }; /* more than two buffers */

static void fill_page(unsigned char *page, uint64_t number)
{
	for (size_t i = 0; i < tm_page_size(); i++)
		page[i] = (unsigned char)(number * 31 + i * 7 + 1);
}

/* A memory file whose page k holds the pattern of `first + k`. */
static int patterned_file(uint64_t pages, uint64_t first)
{
	unsigned char *page = malloc(tm_page_size());
	int fd = memfd_create("pattern", 0);

	CHECK(fd >= 0 && page);
	for (uint64_t i = 0; i < pages; i++) {
		fill_page(page, first + i);
		CHECK(write(fd, page, tm_page_size()) == (ssize_t)tm_page_size());
	}
	free(page);
	return fd;
}

static bool page_is(const unsigned char *data, int64_t number)
{
	unsigned char *page = calloc(1, tm_page_size());
	bool same;

	if (number >= 0)
		fill_page(page, (uint64_t)number);
	same = memcmp(data, page, tm_page_size()) == 0;
	free(page);
	return same;
}

static struct tm_bitmap *all(uint64_t pages)
{
	struct tm_bitmap *bitmap = tm_bitmap_create(pages);

	CHECK(bitmap && tm_bitmap_set(bitmap, 0, pages) == TM_OK);
	return bitmap;
}

static void reads_extents_and_zeroes_between_them(void)
{
	uint64_t size = tm_page_size();
	int fd = patterned_file(20, 100);
	struct tm_extent extents[] = {{.page = 5, .count = 3, .offset = 2 * size, .fd = fd},
				      {.page = 9, .count = 1, .offset = 0, .fd = fd}};
	struct tm_source source = {.extents = extents, .count = 2};
	static const int64_t expected[] = {-1, 102, 103, 104, -1, 100, -1, -1};
	unsigned char *data = malloc(8 * size);
	struct tm_error error;

	memset(data, 0xaa, 8 * size);
	CHECK_OK(tm_pages_read(&source, 4, 8, data, &error));
	for (size_t i = 0; i < 8; i++)
		CHECK(page_is(data + i * size, expected[i]));
	free(data);
	close(fd);
}

static void says_that_a_file_is_short(void)
{
	int fd = patterned_file(2, 0);
	struct tm_extent extent = {.page = 0, .count = 3, .fd = fd};
	struct tm_source source = {.extents = &extent, .count = 1};
	unsigned char *data = malloc(3 * tm_page_size());
	struct tm_error error;

	CHECK(tm_pages_read(&source, 0, 3, data, &error) == TM_SHORT);
	free(data);
	close(fd);
}

static void packs_what_is_selected_and_hashes_it(void)
{
	uint64_t size = tm_page_size();
	int fd = patterned_file(PAGES, 0), out = memfd_create("out", 0);
	struct tm_extent extent = {.page = 0, .count = PAGES, .fd = fd};
	struct tm_source source = {.extents = &extent, .count = 1};
	struct tm_bitmap *which = all(PAGES);
	unsigned char *hashes = malloc(PAGES * TM_HASH_BYTES),
		      *again = malloc(PAGES * TM_HASH_BYTES);
	unsigned char first[TM_HASH_BYTES], whole[TM_HASH_BYTES];
	unsigned char *packed;
	struct tm_error error;

	tm_bitmap_clear(which, 3, 290);
	CHECK_OK(tm_pages_pack(&source, which, out, hashes, &error));
	packed = mmap(NULL, (PAGES - 290) * size, PROT_READ, MAP_SHARED, out, 0);
	CHECK(page_is(packed + 2 * size, 2) && page_is(packed + 3 * size, 293));
	CHECK(page_is(packed + (PAGES - 291) * size, PAGES - 1));
	CHECK_OK(tm_file_hash(out, size, first, &error));
	CHECK(memcmp(hashes, first, TM_HASH_BYTES) == 0);
	CHECK_OK(tm_file_hash(out, (PAGES - 290) * size, first, &error));
	tm_hash(packed, (PAGES - 290) * size, whole);
	CHECK(memcmp(first, whole, TM_HASH_BYTES) == 0);
	CHECK_OK(tm_pages_hash(&source, which, again, &error));
	CHECK(memcmp(hashes, again, (PAGES - 290) * TM_HASH_BYTES) == 0);
	CHECK(memcmp(hashes, hashes + TM_HASH_BYTES, TM_HASH_BYTES) != 0);
	munmap(packed, (PAGES - 290) * size);
	tm_bitmap_destroy(which);
	free(hashes);
	free(again);
	close(fd);
	close(out);
}

static void copies_what_is_selected_and_nothing_else(void)
{
	uint64_t size = tm_page_size();
	int fd = patterned_file(PAGES, 0);
	struct tm_extent extent = {.page = 0, .count = PAGES, .fd = fd};
	struct tm_source source = {.extents = &extent, .count = 1};
	struct tm_bitmap *which = tm_bitmap_create(PAGES);
	unsigned char *out = calloc(4, size);
	struct tm_error error;

	CHECK(tm_bitmap_set(which, 7, 2) == TM_OK && tm_bitmap_set(which, PAGES - 1, 1) == TM_OK);
	CHECK_OK(tm_pages_copy(&source, which, out, &error));
	CHECK(page_is(out, 7) && page_is(out + size, 8) && page_is(out + 2 * size, PAGES - 1));
	CHECK(page_is(out + 3 * size, -1));
	tm_bitmap_destroy(which);
	free(out);
	close(fd);
}

static void places_pages_and_leaves_zeroes_out(void)
{
	uint64_t size = tm_page_size();
	int fd = patterned_file(10, 0), out = memfd_create("out", 0);
	struct tm_extent extents[] = {{.page = 300, .count = 2, .offset = 0, .fd = fd},
				      {.page = 303, .count = 1, .offset = 7 * size, .fd = fd}};
	struct tm_source source = {.extents = extents, .count = 2};
	struct tm_bitmap *which = all(PAGES), *data = tm_bitmap_create(PAGES);
	struct tm_run run;
	struct tm_error error;
	unsigned char *page = malloc(size);

	CHECK(ftruncate(out, (off_t)(PAGES * size)) == 0);
	CHECK_OK(tm_pages_place(&source, which, out, &error));
	CHECK_OK(tm_pages_data(out, data, &error));
	CHECK(tm_bitmap_next(data, 0, &run) && run.first == 300 && run.count == 2);
	CHECK(tm_bitmap_next(data, 302, &run) && run.first == 303 && run.count == 1);
	CHECK(!tm_bitmap_next(data, 304, &run));
	CHECK(pread(out, page, size, (off_t)(303 * size)) == (ssize_t)size && page_is(page, 7));
	tm_bitmap_destroy(which);
	tm_bitmap_destroy(data);
	free(page);
	close(fd);
	close(out);
}

static void transfers_pages_to_their_places(void)
{
	uint64_t size = tm_page_size();
	int fd = patterned_file(PAGES, 0), out = memfd_create("out", 0);
	struct tm_extent extents[] = {{.page = 3, .count = 600, .offset = size, .fd = fd},
				      {.page = 690, .count = 2, .offset = 0, .fd = fd}};
	struct tm_source source = {.extents = extents, .count = 2};
	struct tm_bitmap *which = all(PAGES), *data = tm_bitmap_create(PAGES);
	unsigned char *page = malloc(size);
	struct tm_run run;
	struct tm_error error;

	tm_bitmap_clear(which, 10, 5);
	CHECK(ftruncate(out, (off_t)(PAGES * size)) == 0);
	CHECK_OK(tm_pages_transfer(&source, which, out, &error));
	CHECK_OK(tm_pages_data(out, data, &error));
	CHECK(tm_bitmap_next(data, 0, &run) && run.first == 3 && run.count == 7);
	CHECK(tm_bitmap_next(data, 10, &run) && run.first == 15 && run.count == 588);
	CHECK(tm_bitmap_next(data, 603, &run) && run.first == 690 && run.count == 2);
	CHECK(pread(out, page, size, (off_t)(602 * size)) == (ssize_t)size && page_is(page, 600));
	CHECK(pread(out, page, size, (off_t)(691 * size)) == (ssize_t)size && page_is(page, 1));
	extents[1].offset = (PAGES - 1) * size;
	CHECK(tm_pages_transfer(&source, which, out, &error) == TM_SHORT);
	tm_bitmap_destroy(which);
	tm_bitmap_destroy(data);
	free(page);
	close(fd);
	close(out);
}

static void compares_and_finds_zero_pages(void)
{
	uint64_t size = tm_page_size();
	int fd = patterned_file(PAGES, 0), other_fd = patterned_file(PAGES, 0);
	struct tm_extent extent = {.page = 0, .count = PAGES, .fd = fd};
	struct tm_extent other_extent = {.page = 0, .count = PAGES, .fd = other_fd};
	struct tm_source source = {.extents = &extent, .count = 1};
	struct tm_source other = {.extents = &other_extent, .count = 1};
	struct tm_bitmap *which = all(PAGES), *differs = tm_bitmap_create(PAGES);
	struct tm_bitmap *zero = tm_bitmap_create(PAGES);
	struct tm_error error;
	unsigned char *page = calloc(1, size);

	CHECK(pwrite(other_fd, "", 1, (off_t)(513 * size - 1)) ==
	      1); /* the last byte of page 512 */
	CHECK(pwrite(other_fd, page, size, (off_t)(699 * size)) == (ssize_t)size);
	tm_bitmap_clear(which, 100, 1);
	CHECK(pwrite(other_fd, "", 1, (off_t)(100 * size)) == 1); /* not asked for */
	CHECK_OK(tm_pages_compare(&source, &other, which, differs, &error));
	CHECK(tm_bitmap_count(differs) == 2);
	CHECK(tm_bitmap_test(differs, 512) && tm_bitmap_test(differs, 699));
	CHECK_OK(tm_pages_zero(&other, which, zero, &error));
	CHECK(tm_bitmap_count(zero) == 1 && tm_bitmap_test(zero, 699));
	tm_bitmap_destroy(which);
	tm_bitmap_destroy(differs);
	tm_bitmap_destroy(zero);
	free(page);
	close(fd);
	close(other_fd);
}

static void reads_what_stands_behind_the_end_of_a_file(void)
{
	size_t size = tm_page_size();
	int fd = memfd_create("tail", 0);
	unsigned char *memory, *page = malloc(size);
	struct tm_error error;

	CHECK(ftruncate(fd, (off_t)(size + 56)) == 0);
	memory = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED && page);
	memory[size + 55] = 1;
	memory[size + 100] = 2;
	CHECK_OK(tm_page_mapped(fd, 1, page, &error));
	CHECK(page[55] == 1 && page[100] == 2);
	munmap(memory, 2 * size);
	free(page);
	close(fd);
}

static void compares_hashes_page_by_page(void)
{
	struct tm_bitmap *a = tm_bitmap_create(10), *b = tm_bitmap_create(20);
	struct tm_bitmap *differs = tm_bitmap_create(20);
	unsigned char left[4 * TM_HASH_BYTES] = {0}, right[4 * TM_HASH_BYTES] = {0};
	struct tm_error error;

	/* a has pages 1 2 3 9, b has 2 3 4 19; page 3 differs. */
	CHECK(tm_bitmap_set(a, 1, 3) == TM_OK && tm_bitmap_set(a, 9, 1) == TM_OK);
	CHECK(tm_bitmap_set(b, 2, 3) == TM_OK && tm_bitmap_set(b, 19, 1) == TM_OK);
	left[2 * TM_HASH_BYTES] = 1;
	CHECK_OK(tm_hashes_compare(a, left, b, right, differs, &error));
	CHECK(tm_bitmap_count(differs) == 5 && !tm_bitmap_test(differs, 2));
	CHECK(tm_bitmap_test(differs, 1) && tm_bitmap_test(differs, 3));
	CHECK(tm_bitmap_test(differs, 4) && tm_bitmap_test(differs, 9));
	CHECK(tm_bitmap_test(differs, 19));
	tm_bitmap_destroy(a);
	tm_bitmap_destroy(b);
	tm_bitmap_destroy(differs);
}

static void reports_a_full_file_system(void)
{
	int fd = patterned_file(1, 0), out = memfd_create("sealed", MFD_ALLOW_SEALING);
	struct tm_extent extent = {.page = 0, .count = 1, .fd = fd};
	struct tm_source source = {.extents = &extent, .count = 1};
	struct tm_bitmap *which = all(1);
	struct tm_error error;
	FILE *full = fopen("/dev/full", "w");

	CHECK(full);
	CHECK(tm_pages_pack(&source, which, fileno(full), NULL, &error) == TM_SYSTEM);
	CHECK(error.sys_errno == ENOSPC);
	fclose(full);
	tm_bitmap_destroy(which);
	close(fd);
	close(out);
}

int main(void)
{
	reads_extents_and_zeroes_between_them();
	says_that_a_file_is_short();
	packs_what_is_selected_and_hashes_it();
	copies_what_is_selected_and_nothing_else();
	places_pages_and_leaves_zeroes_out();
	transfers_pages_to_their_places();
	compares_and_finds_zero_pages();
	reads_what_stands_behind_the_end_of_a_file();
	compares_hashes_page_by_page();
	reports_a_full_file_system();
	return 0;
}
