/* Bitmaps against the plainest model there is: an array of bool. */
#include <string.h>

#include "check.h"

enum { PAGES = 3 * TM_CHUNK_PAGES + 77, ROUNDS = 2000 };

static uint64_t state = 88172645463325252ULL;

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static struct tm_run random_run(uint64_t pages)
{
	struct tm_run run = {.first = next_random() % pages};
	uint64_t longest = next_random() % 8 == 0 ? pages : 200;

	run.count = next_random() % longest;
	if (run.count > pages - run.first)
		run.count = pages - run.first;
	return run;
}

static void check_equal(const struct tm_bitmap *bitmap, const bool *model)
{
	uint64_t count = 0, page = 0;
	struct tm_run run;

	for (uint64_t i = 0; i < PAGES; i++)
		count += model[i];
	CHECK(tm_bitmap_count(bitmap) == count);
	while (tm_bitmap_next(bitmap, page, &run)) {
		for (; page < run.first; page++)
			CHECK(!model[page]);
		for (; page < run.first + run.count; page++)
			CHECK(model[page]);
		CHECK(page == PAGES || !model[page]);
	}
	for (; page < PAGES; page++)
		CHECK(!model[page]);
}

static void sets_and_clears_like_the_model(void)
{
	struct tm_bitmap *bitmap = tm_bitmap_create(PAGES);
	bool *model = calloc(PAGES, sizeof(bool));

	for (int round = 0; round < ROUNDS; round++) {
		struct tm_run run = random_run(PAGES);
		bool value = next_random() % 3 != 0;

		if (value)
			CHECK(tm_bitmap_set(bitmap, run.first, run.count) == TM_OK);
		else
			tm_bitmap_clear(bitmap, run.first, run.count);
		memset(model + run.first, value, run.count);
		if (round % 50 == 0)
			check_equal(bitmap, model);
		CHECK(tm_bitmap_test(bitmap, run.first) == model[run.first]);
	}
	check_equal(bitmap, model);
	tm_bitmap_destroy(bitmap);
	free(model);
}

static struct tm_bitmap *random_bitmap(bool *model)
{
	struct tm_bitmap *bitmap = tm_bitmap_create(PAGES);

	memset(model, 0, PAGES * sizeof(bool));
	for (int i = 0; i < 40; i++) {
		struct tm_run run = random_run(PAGES);

		CHECK(tm_bitmap_set(bitmap, run.first, run.count) == TM_OK);
		memset(model + run.first, true, run.count);
	}
	return bitmap;
}

static void combines_like_the_model(void)
{
	bool *a = malloc(PAGES), *b = malloc(PAGES);

	for (int operation = 0; operation < 3; operation++) {
		struct tm_bitmap *left = random_bitmap(a), *right = random_bitmap(b);

		if (operation == 0)
			CHECK(tm_bitmap_or(left, right) == TM_OK);
		else if (operation == 1)
			tm_bitmap_and(left, right);
		else
			tm_bitmap_andnot(left, right);
		for (uint64_t i = 0; i < PAGES; i++)
			a[i] = operation == 0	? a[i] || b[i]
			       : operation == 1 ? a[i] && b[i]
						: a[i] && !b[i];
		check_equal(left, a);
		tm_bitmap_destroy(left);
		tm_bitmap_destroy(right);
	}
	free(a);
	free(b);
}

static void refuses_what_is_beyond_its_end(void)
{
	struct tm_bitmap *bitmap = tm_bitmap_create(100);

	CHECK(tm_bitmap_set(bitmap, 99, 1) == TM_OK);
	CHECK(tm_bitmap_set(bitmap, 99, 2) == TM_BOUNDS);
	CHECK(tm_bitmap_set(bitmap, 101, 0) == TM_BOUNDS);
	CHECK(tm_bitmap_set(bitmap, 1, UINT64_MAX) == TM_BOUNDS);
	CHECK(tm_bitmap_count(bitmap) == 1);
	CHECK(!tm_bitmap_test(bitmap, 100));
	tm_bitmap_clear(bitmap, 50, UINT64_MAX);
	CHECK(tm_bitmap_count(bitmap) == 0);
	tm_bitmap_destroy(bitmap);
}

static void grows_with_zero_bits(void)
{
	struct tm_bitmap *bitmap = tm_bitmap_create(100), *longer = tm_bitmap_create(70000);
	struct tm_run run;

	CHECK(tm_bitmap_set(bitmap, 0, 100) == TM_OK);
	tm_bitmap_grow(bitmap, 50);
	CHECK(tm_bitmap_pages(bitmap) == 100);
	tm_bitmap_grow(bitmap, 40000);
	CHECK(tm_bitmap_pages(bitmap) == 40000);
	CHECK(tm_bitmap_count(bitmap) == 100);
	CHECK(tm_bitmap_set(longer, 69999, 1) == TM_OK);
	CHECK(tm_bitmap_or(bitmap, longer) == TM_OK && tm_bitmap_pages(bitmap) == 70000);
	CHECK(tm_bitmap_next(bitmap, 100, &run) && run.first == 69999 && run.count == 1);
	tm_bitmap_destroy(bitmap);
	tm_bitmap_destroy(longer);
}

static void loads_what_it_gave(void)
{
	struct tm_bitmap *bitmap = tm_bitmap_create(TM_CHUNK_PAGES + 10);
	struct tm_bitmap *copy = tm_bitmap_create(TM_CHUNK_PAGES + 10);
	unsigned char full[TM_CHUNK_BYTES], chunk[TM_CHUNK_BYTES];
	uint64_t index;

	CHECK(tm_bitmap_set(bitmap, TM_CHUNK_PAGES + 3, 7) == TM_OK);
	CHECK(!tm_bitmap_chunk(bitmap, 2, &index, chunk));
	CHECK(tm_bitmap_chunk(bitmap, 0, &index, chunk) && index == 1);
	CHECK(tm_bitmap_load(copy, index, chunk) == TM_OK);
	CHECK(tm_bitmap_count(copy) == 7 && tm_bitmap_test(copy, TM_CHUNK_PAGES + 9));
	memset(full, 0xff, sizeof(full));
	CHECK(tm_bitmap_load(copy, 1, full) == TM_BOUNDS);
	CHECK(tm_bitmap_load(copy, 2, full) == TM_BOUNDS);
	CHECK(tm_bitmap_load(copy, 0, full) == TM_OK);
	tm_bitmap_clear(bitmap, 0, tm_bitmap_pages(bitmap));
	CHECK(!tm_bitmap_chunk(bitmap, 0, &index, chunk));
	tm_bitmap_destroy(bitmap);
	tm_bitmap_destroy(copy);
}

static void gives_whole_blocks(void)
{
	struct tm_bitmap *bitmap = tm_bitmap_create(100000);
	struct tm_run run;

	CHECK(tm_bitmap_set(bitmap, 511, 2) == TM_OK && tm_bitmap_set(bitmap, 1030, 1) == TM_OK);
	CHECK(tm_bitmap_set(bitmap, 5000, 1) == TM_OK && tm_bitmap_set(bitmap, 99999, 1) == TM_OK);
	CHECK(tm_bitmap_next_blocks(bitmap, 512, 0, &run));
	CHECK(run.first == 0 && run.count == 3 * 512);
	CHECK(tm_bitmap_next_blocks(bitmap, 512, 3 * 512, &run));
	CHECK(run.first == 9 * 512 && run.count == 512);
	CHECK(tm_bitmap_next_blocks(bitmap, 512, 10 * 512, &run));
	CHECK(run.first == 195 * 512 && run.count == 100000 - 195 * 512);
	CHECK(!tm_bitmap_next_blocks(bitmap, 512, 100000, &run));
	tm_bitmap_destroy(bitmap);
}

static void samples_the_same_share_again(void)
{
	struct tm_bitmap *bitmap = tm_bitmap_create(100000), *again = tm_bitmap_create(100000);
	struct tm_bitmap *other = tm_bitmap_create(100000);
	uint64_t count;

	CHECK(tm_bitmap_set(bitmap, 0, 90000) == TM_OK && tm_bitmap_or(again, bitmap) == TM_OK);
	CHECK(tm_bitmap_or(other, bitmap) == TM_OK);
	tm_bitmap_sample(bitmap, 7, 1);
	CHECK(tm_bitmap_count(bitmap) == 90000);
	tm_bitmap_sample(bitmap, 7, 0.25);
	count = tm_bitmap_count(bitmap);
	CHECK(count > 21500 && count < 23500);
	tm_bitmap_sample(again, 7, 0.25);
	tm_bitmap_andnot(again, bitmap);
	CHECK(tm_bitmap_count(again) == 0);
	tm_bitmap_sample(other, 8, 0.25);
	tm_bitmap_andnot(other, bitmap);
	CHECK(tm_bitmap_count(other) > 10000);
	tm_bitmap_sample(bitmap, 7, 0);
	CHECK(tm_bitmap_count(bitmap) == 0);
	tm_bitmap_destroy(bitmap);
	tm_bitmap_destroy(again);
	tm_bitmap_destroy(other);
}

int main(void)
{
	sets_and_clears_like_the_model();
	combines_like_the_model();
	refuses_what_is_beyond_its_end();
	grows_with_zero_bits();
	loads_what_it_gave();
	gives_whole_blocks();
	samples_the_same_share_again();
	return 0;
}
