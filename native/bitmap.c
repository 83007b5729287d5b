/* A sparse bitmap: made, set, cleared, and looked through. */
#include <stdlib.h>
#include <string.h>

#include "bitmap.h"

struct tm_bitmap *tm_bitmap_create(uint64_t pages)
{
	struct tm_bitmap *bitmap = calloc(1, sizeof(*bitmap));

	if (bitmap)
		bitmap->pages = pages;
	return bitmap;
}

void tm_bitmap_destroy(struct tm_bitmap *bitmap)
{
	if (!bitmap)
		return;
	for (size_t i = 0; i < bitmap->count; i++)
		free(bitmap->leaves[i].words);
	free(bitmap->leaves);
	free(bitmap);
}

uint64_t tm_bitmap_pages(const struct tm_bitmap *bitmap)
{
	return bitmap->pages;
}

void tm_bitmap_grow(struct tm_bitmap *bitmap, uint64_t pages)
{
	if (pages > bitmap->pages)
		bitmap->pages = pages;
}

size_t tm_leaf_find(const struct tm_bitmap *bitmap, uint64_t index)
{
	size_t low = 0, high = bitmap->count;

	/* Most are asked for in order: then it is the last one, or behind it. */
	if (high && bitmap->leaves[high - 1].index <= index)
		return high - (bitmap->leaves[high - 1].index == index);
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (bitmap->leaves[middle].index < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int tm_leaves_reserve(struct tm_bitmap *bitmap, size_t count)
{
	size_t capacity = bitmap->capacity * 2 > count ? bitmap->capacity * 2 : count;
	struct tm_leaf *leaves;

	if (count <= bitmap->capacity)
		return TM_OK;
	leaves = realloc(bitmap->leaves, capacity * sizeof(*leaves));
	if (!leaves)
		return TM_MEMORY;
	bitmap->leaves = leaves;
	bitmap->capacity = capacity;
	return TM_OK;
}

uint64_t *tm_leaf_make(struct tm_bitmap *bitmap, uint64_t index)
{
	size_t place = tm_leaf_find(bitmap, index);
	struct tm_leaf leaf = {.index = index};

	if (place < bitmap->count && bitmap->leaves[place].index == index)
		return bitmap->leaves[place].words;
	if (tm_leaves_reserve(bitmap, bitmap->count + 1) != TM_OK)
		return NULL;
	leaf.words = calloc(TM_LEAF_WORDS, sizeof(*leaf.words));
	if (!leaf.words)
		return NULL;
	memmove(bitmap->leaves + place + 1, bitmap->leaves + place,
		(bitmap->count - place) * sizeof(leaf));
	bitmap->leaves[place] = leaf;
	bitmap->count++;
	return leaf.words;
}

bool tm_leaf_is_empty(const uint64_t *words)
{
	uint64_t all = 0;

	for (unsigned word = 0; word < TM_LEAF_WORDS; word++)
		all |= words[word];
	return all == 0;
}

/* The bits [from, to) of one word, 0 <= from < to <= 64. */
static uint64_t word_mask(unsigned from, unsigned to)
{
	return (~0ULL >> (TM_WORD_BITS - (to - from))) << from;
}

/* Sets or clears bits [from, to) of a leaf. */
static void leaf_fill(uint64_t *words, unsigned from, unsigned to, bool value)
{
	while (from < to) {
		unsigned word = from / TM_WORD_BITS;
		unsigned low = from % TM_WORD_BITS;
		unsigned high = to - word * TM_WORD_BITS < TM_WORD_BITS ? to - word * TM_WORD_BITS
									: TM_WORD_BITS;
		uint64_t mask = word_mask(low, high);

		words[word] = value ? words[word] | mask : words[word] & ~mask;
		from = word * TM_WORD_BITS + high;
	}
}

int tm_bitmap_set(struct tm_bitmap *bitmap, uint64_t first, uint64_t count)
{
	if (first > bitmap->pages || count > bitmap->pages - first)
		return TM_BOUNDS;
	for (uint64_t page = first, end = first + count; page < end;) {
		uint64_t index = page / TM_LEAF_PAGES;
		uint64_t base = index * TM_LEAF_PAGES;
		uint64_t stop = end - base < TM_LEAF_PAGES ? end - base : TM_LEAF_PAGES;
		uint64_t *words = tm_leaf_make(bitmap, index);

		if (!words)
			return TM_MEMORY;
		leaf_fill(words, (unsigned)(page - base), (unsigned)stop, true);
		page = base + stop;
	}
	return TM_OK;
}

int tm_bitmap_mark(struct tm_bitmap *bitmap, uint64_t page, struct tm_error *error)
{
	int code = tm_bitmap_set(bitmap, page, 1);

	return code == TM_OK ? TM_OK
			     : tm_fail(error, code, "mark page %llu", (unsigned long long)page);
}

void tm_bitmap_clear(struct tm_bitmap *bitmap, uint64_t first, uint64_t count)
{
	uint64_t end = first > bitmap->pages || count > bitmap->pages - first ? bitmap->pages
									      : first + count;

	for (size_t i = tm_leaf_find(bitmap, first / TM_LEAF_PAGES); i < bitmap->count; i++) {
		uint64_t base = bitmap->leaves[i].index * TM_LEAF_PAGES;
		uint64_t from = first > base ? first - base : 0;

		if (base >= end)
			break;
		leaf_fill(bitmap->leaves[i].words, (unsigned)from,
			  (unsigned)(end - base < TM_LEAF_PAGES ? end - base : TM_LEAF_PAGES),
			  false);
	}
}

bool tm_bitmap_test(const struct tm_bitmap *bitmap, uint64_t page)
{
	size_t place = tm_leaf_find(bitmap, page / TM_LEAF_PAGES);

	if (place == bitmap->count || bitmap->leaves[place].index != page / TM_LEAF_PAGES)
		return false;
	return bitmap->leaves[place].words[page % TM_LEAF_PAGES / TM_WORD_BITS] >>
		       (page % TM_WORD_BITS) &
	       1;
}

/* The first page of a leaf at or after `from` whose bit is `value`, or TM_LEAF_PAGES. */
static unsigned leaf_find_bit(const uint64_t *words, unsigned from, bool value)
{
	while (from < TM_LEAF_PAGES) {
		uint64_t word = words[from / TM_WORD_BITS];
		uint64_t rest = (value ? word : ~word) >> (from % TM_WORD_BITS);

		if (rest)
			return from + (unsigned)__builtin_ctzll(rest);
		from = (from / TM_WORD_BITS + 1) * TM_WORD_BITS;
	}
	return TM_LEAF_PAGES;
}

/* The end of the run that begins at `page`, in the leaf at `place` or in those behind it. */
static uint64_t find_end(const struct tm_bitmap *bitmap, size_t place, uint64_t page)
{
	for (; place < bitmap->count; place++) {
		const struct tm_leaf *leaf = &bitmap->leaves[place];
		unsigned end;

		if (leaf->index != page / TM_LEAF_PAGES)
			break;
		end = leaf_find_bit(leaf->words, page % TM_LEAF_PAGES, false);
		page = leaf->index * TM_LEAF_PAGES + end;
		if (end < TM_LEAF_PAGES)
			break;
	}
	return page;
}

bool tm_bitmap_next(const struct tm_bitmap *bitmap, uint64_t from, struct tm_run *ret)
{
	for (size_t i = tm_leaf_find(bitmap, from / TM_LEAF_PAGES); i < bitmap->count; i++) {
		const struct tm_leaf *leaf = &bitmap->leaves[i];
		uint64_t base = leaf->index * TM_LEAF_PAGES;
		unsigned bit =
			leaf_find_bit(leaf->words, from > base ? (unsigned)(from - base) : 0, true);

		if (bit == TM_LEAF_PAGES)
			continue;
		ret->first = base + bit;
		ret->count = find_end(bitmap, i, ret->first) - ret->first;
		return true;
	}
	return false;
}

size_t tm_bitmap_runs(const struct tm_bitmap *bitmap, uint64_t from, size_t capacity,
		      struct tm_run *ret)
{
	size_t count = 0;

	while (count < capacity && tm_bitmap_next(bitmap, from, &ret[count])) {
		from = ret[count].first + ret[count].count;
		count++;
	}
	return count;
}
