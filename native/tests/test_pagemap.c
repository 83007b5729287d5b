/* What a scan of a page table tells, put into the bitmap of a view. */
#define _GNU_SOURCE
#include "check.h"
#include "internal.h"

enum { PAGES = 2048, HUGE = 512, FIRST = 700, COUNT = 100, START = 1 << 30 };

static uint64_t address_of(uint64_t page)
{
	return START + page * tm_page_size();
}

/* The pages that a run from `first` on marks in a view of COUNT pages, which begin at FIRST. */
static struct tm_bitmap *marked(uint64_t first, uint64_t count)
{
	const struct tm_view view = {
		.start = address_of(FIRST), .end = address_of(FIRST + COUNT), .page = FIRST};
	struct tm_bitmap *bitmap = tm_bitmap_create(PAGES);
	struct tm_error error;

	CHECK(bitmap);
	CHECK_OK(tm_view_set(&view, address_of(first), address_of(first + count), bitmap, &error));
	return bitmap;
}

static void a_huge_page_counts_only_for_what_a_view_shows_of_it(void)
{
	struct tm_bitmap *bitmap = marked(HUGE, HUGE);
	struct tm_run run;

	CHECK(tm_bitmap_next(bitmap, 0, &run) && run.first == FIRST && run.count == COUNT);
	CHECK(!tm_bitmap_next(bitmap, FIRST + COUNT, &run));
	tm_bitmap_destroy(bitmap);
}

static void a_huge_page_beside_a_view_counts_for_nothing(void)
{
	struct tm_run run;

	for (uint64_t first = 0; first < PAGES; first += HUGE) {
		struct tm_bitmap *bitmap = marked(first, HUGE);

		CHECK(tm_bitmap_next(bitmap, 0, &run) == (first == HUGE));
		tm_bitmap_destroy(bitmap);
	}
}

static void a_huge_page_at_the_edge_of_a_view_counts_up_to_there(void)
{
	struct tm_bitmap *bitmap = marked(FIRST - 10, 20);
	struct tm_run run;

	CHECK(tm_bitmap_next(bitmap, 0, &run) && run.first == FIRST && run.count == 10);
	tm_bitmap_destroy(bitmap);
}

int main(void)
{
	a_huge_page_counts_only_for_what_a_view_shows_of_it();
	a_huge_page_beside_a_view_counts_for_nothing();
	a_huge_page_at_the_edge_of_a_view_counts_up_to_there();
	return 0;
}
