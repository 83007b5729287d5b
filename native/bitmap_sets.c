/* Bitmaps as sets: brought together, taken from each other, counted, sampled. */
#include <stdlib.h>
#include <string.h>

#include "bitmap.h"

/* How many leaves of `other` the bitmap has not. */
static size_t count_missing(const struct tm_bitmap *bitmap, const struct tm_bitmap *other)
{
	size_t missing = 0;

	for (size_t i = 0, j = 0; j < other->count; j++) {
		while (i < bitmap->count && bitmap->leaves[i].index < other->leaves[j].index)
			i++;
		if (i == bitmap->count || bitmap->leaves[i].index != other->leaves[j].index)
			missing++;
	}
	return missing;
}

/* Puts empty leaves where only `other` has some, from the last to the first; room is there. */
static int make_missing(struct tm_bitmap *bitmap, const struct tm_bitmap *other, size_t missing)
{
	struct tm_leaf *leaves = bitmap->leaves;
	size_t to = bitmap->count + missing, from = bitmap->count;
	uint64_t **made = calloc(missing, sizeof(*made));
	size_t ready = 0;

	while (made && ready < missing && (made[ready] = calloc(TM_LEAF_WORDS, sizeof(**made))))
		ready++;
	if (ready < missing) {
		while (ready)
			free(made[--ready]);
		free(made);
		return TM_MEMORY;
	}
	for (size_t j = other->count; ready && j > 0; j--) {
		uint64_t index = other->leaves[j - 1].index;

		while (from && leaves[from - 1].index > index)
			leaves[--to] = leaves[--from];
		if (!from || leaves[from - 1].index != index)
			leaves[--to] = (struct tm_leaf){.index = index, .words = made[--ready]};
	}
	bitmap->count += missing;
	free(made);
	return TM_OK;
}

int tm_bitmap_or(struct tm_bitmap *bitmap, const struct tm_bitmap *other)
{
	size_t missing = count_missing(bitmap, other);

	tm_bitmap_grow(bitmap, other->pages);
	if (missing && (tm_leaves_reserve(bitmap, bitmap->count + missing) != TM_OK ||
			make_missing(bitmap, other, missing) != TM_OK))
		return TM_MEMORY;
	for (size_t i = 0, j = 0; j < other->count; j++) {
		while (bitmap->leaves[i].index != other->leaves[j].index)
			i++;
		for (unsigned word = 0; word < TM_LEAF_WORDS; word++)
			bitmap->leaves[i].words[word] |= other->leaves[j].words[word];
	}
	return TM_OK;
}

/* Takes the leaves out that have no bit any more. */
static void drop_empty(struct tm_bitmap *bitmap)
{
	size_t kept = 0;

	for (size_t i = 0; i < bitmap->count; i++) {
		if (tm_leaf_is_empty(bitmap->leaves[i].words))
			free(bitmap->leaves[i].words);
		else
			bitmap->leaves[kept++] = bitmap->leaves[i];
	}
	bitmap->count = kept;
}

static const uint64_t nothing[TM_LEAF_WORDS];

/* The words of the leaf `index`, searched from `*place` on. */
static const uint64_t *words_at(const struct tm_bitmap *bitmap, uint64_t index, size_t *place)
{
	while (*place < bitmap->count && bitmap->leaves[*place].index < index)
		++*place;
	return *place < bitmap->count && bitmap->leaves[*place].index == index
		       ? bitmap->leaves[*place].words
		       : nothing;
}

void tm_bitmap_and(struct tm_bitmap *bitmap, const struct tm_bitmap *other)
{
	for (size_t i = 0, j = 0; i < bitmap->count; i++) {
		const uint64_t *words = words_at(other, bitmap->leaves[i].index, &j);

		for (unsigned word = 0; word < TM_LEAF_WORDS; word++)
			bitmap->leaves[i].words[word] &= words[word];
	}
	drop_empty(bitmap);
}

void tm_bitmap_andnot(struct tm_bitmap *bitmap, const struct tm_bitmap *other)
{
	for (size_t i = 0, j = 0; i < bitmap->count; i++) {
		const uint64_t *words = words_at(other, bitmap->leaves[i].index, &j);

		for (unsigned word = 0; word < TM_LEAF_WORDS; word++)
			bitmap->leaves[i].words[word] &= ~words[word];
	}
	drop_empty(bitmap);
}

uint64_t tm_bitmap_count(const struct tm_bitmap *bitmap)
{
	uint64_t count = 0;

	for (size_t i = 0; i < bitmap->count; i++)
		for (unsigned word = 0; word < TM_LEAF_WORDS; word++)
			count += (unsigned)__builtin_popcountll(bitmap->leaves[i].words[word]);
	return count;
}

/* Vigna's splitmix64: what a page number draws. */
static uint64_t draw(uint64_t seed, uint64_t page)
{
	uint64_t x = seed + (page + 1) * 0x9e3779b97f4a7c15ULL;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static uint64_t sample_word(uint64_t word, uint64_t page, uint64_t seed, uint64_t threshold)
{
	uint64_t kept = 0;

	for (; word; word &= word - 1) {
		unsigned bit = (unsigned)__builtin_ctzll(word);

		if (draw(seed, page + bit) < threshold)
			kept |= 1ULL << bit;
	}
	return kept;
}

void tm_bitmap_sample(struct tm_bitmap *bitmap, uint64_t seed, double share)
{
	uint64_t threshold;

	if (share >= 1)
		return;
	threshold = share > 0 ? (uint64_t)(share * 0x1p64) : 0;
	for (size_t i = 0; i < bitmap->count; i++) {
		struct tm_leaf *leaf = &bitmap->leaves[i];

		for (unsigned word = 0; word < TM_LEAF_WORDS; word++)
			leaf->words[word] = sample_word(
				leaf->words[word],
				leaf->index * TM_LEAF_PAGES + word * TM_WORD_BITS, seed, threshold);
	}
}
