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

int main(void)
{
	copies_what_is_selected();
	says_that_an_object_was_cut_off();
	return 0;
}
