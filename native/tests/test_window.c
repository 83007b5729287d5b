/* Pages are copied from a mapping, and the end of the object is an error and no death. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

enum { PAGES = 40 };

static unsigned char *file(int *fd)
{
	size_t size = tm_page_size();
	unsigned char *memory;

	*fd = memfd_create("window", 0);
	CHECK(*fd >= 0 && ftruncate(*fd, PAGES * size) == 0);
	memory = mmap(NULL, PAGES * size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	CHECK(memory != MAP_FAILED);
	for (size_t page = 0; page < PAGES; page++)
		memset(memory + page * size, (int)page + 1, size);
	return memory;
}

static struct tm_bitmap *some(void)
{
	struct tm_bitmap *which = tm_bitmap_create(PAGES);

	CHECK(tm_bitmap_set(which, 3, 2) == TM_OK && tm_bitmap_set(which, PAGES - 1, 1) == TM_OK);
	return which;
}

static void copies_what_is_selected(void)
{
	int fd;
	size_t size = tm_page_size();
	struct tm_window window = {.memory = file(&fd), .pages = PAGES};
	struct tm_bitmap *which = some();
	unsigned char *out = calloc(4, size);
	struct tm_error error;

	CHECK_OK(tm_window_touch(&window, which, &error));
	CHECK_OK(tm_window_copy(&window, which, out, &error));
	CHECK(out[0] == 4 && out[2 * size - 1] == 5 && out[2 * size] == PAGES);
	CHECK(out[3 * size - 1] == PAGES && out[3 * size] == 0);
	window.pages = PAGES - 1;
	CHECK(tm_window_copy(&window, which, out, &error) == TM_SHORT);
	munmap((void *)window.memory, PAGES * size);
	tm_bitmap_destroy(which);
	free(out);
	close(fd);
}

static void says_that_an_object_was_cut_off(void)
{
	int fd;
	size_t size = tm_page_size();
	struct tm_window window = {.memory = file(&fd), .pages = PAGES};
	struct tm_bitmap *which = some();
	unsigned char *out = calloc(4, size);
	struct tm_error error;

	CHECK(ftruncate(fd, 10 * size) == 0);
	for (int again = 0; again < 2; again++) {
		CHECK(tm_window_copy(&window, which, out, &error) == TM_SHORT);
		CHECK(tm_window_touch(&window, which, &error) == TM_SHORT);
	}
	tm_bitmap_clear(which, PAGES - 1, 1);
	CHECK_OK(tm_window_copy(&window, which, out, &error));
	munmap((void *)window.memory, PAGES * size);
	tm_bitmap_destroy(which);
	free(out);
	close(fd);
}

/* A file of pages that are packed: those of `window` from page 3 on, the third of them another. */
static struct tm_window packed(const struct tm_window *window)
{
	size_t size = tm_page_size();
	struct tm_window file = {.pages = 4};
	unsigned char *memory = aligned_alloc(size, 4 * size);

	memcpy(memory, window->memory + 3 * size, 4 * size);
	memory[3 * size - 1] ^= 1;
	file.memory = memory;
	return file;
}

/* Pages 3 to 6 are in file 2; of page 8 the file says nothing, and of page 9 there is no file. */
static void compares_pages_where_they_are(void)
{
	int fd;
	size_t size = tm_page_size();
	struct tm_window window = {.memory = file(&fd), .pages = PAGES};
	struct tm_window files[3] = {{.pages = 0}, {.pages = 0}, packed(&window)};
	const struct tm_extent extents[] = {{.page = 3, .count = 4, .offset = 0, .fd = 2},
					    {.page = 8, .count = 1, .offset = 4 * size, .fd = 2},
					    {.page = 9, .count = 1, .offset = 0, .fd = 7}};
	struct tm_source source = {.extents = extents, .count = 3};
	struct tm_bitmap *which = tm_bitmap_create(PAGES);
	struct tm_bitmap *differs = tm_bitmap_create(PAGES);
	struct tm_error error;

	CHECK(tm_bitmap_set(which, 3, 7) == TM_OK);
	CHECK_OK(tm_files_touch(&source, files, 3, &error));
	memset((void *)(window.memory + 7 * size), 0, size); /* page 7 is in no extent, and zero */
	CHECK_OK(tm_window_compare(&window, which, &source, files, 3, differs, &error));
	CHECK(tm_bitmap_count(differs) == 3 && tm_bitmap_test(differs, 5));
	CHECK(tm_bitmap_test(differs, 8) && tm_bitmap_test(differs, 9));
	munmap((void *)window.memory, PAGES * size);
	free((void *)files[2].memory);
	tm_bitmap_destroy(which);
	tm_bitmap_destroy(differs);
	close(fd);
}

/* What is cut off while it is compared, in whichever thread, differs, and ends nothing. */
static void says_of_pages_that_were_cut_off_that_they_differ(void)
{
	int fd;
	size_t size = tm_page_size();
	struct tm_window window = {.memory = file(&fd), .pages = PAGES};
	struct tm_window files[1] = {window};
	const struct tm_extent extent = {.page = 0, .count = PAGES, .offset = 0, .fd = 0};
	struct tm_source source = {.extents = &extent, .count = 1};
	struct tm_bitmap *which = tm_bitmap_create(PAGES);
	struct tm_bitmap *differs = tm_bitmap_create(PAGES);
	struct tm_pool *pool;
	struct tm_error error;

	CHECK_OK(tm_pool_create(3, &pool, &error));
	source.pool = pool;
	CHECK(tm_bitmap_set(which, 0, PAGES) == TM_OK && ftruncate(fd, 3 * size) == 0);
	CHECK_OK(tm_files_touch(&source, files, 1, &error));
	CHECK_OK(tm_window_compare(&window, which, &source, files, 1, differs, &error));
	CHECK(tm_bitmap_count(differs) == PAGES - 3 && !tm_bitmap_test(differs, 2));
	tm_pool_destroy(pool);
	munmap((void *)window.memory, PAGES * size);
	tm_bitmap_destroy(which);
	tm_bitmap_destroy(differs);
	close(fd);
}

int main(void)
{
	copies_what_is_selected();
	says_that_an_object_was_cut_off();
	compares_pages_where_they_are();
	says_of_pages_that_were_cut_off_that_they_differ();
	return 0;
}
