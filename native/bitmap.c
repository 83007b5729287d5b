/*
 * A sparse bitmap: an array of pointers to chunks of 32,768 bits, a chunk being there only
 * once a bit in it was set. A region of 1 TiB with a few pages in use costs kilobytes, and
 * all operations skip what is empty.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { WORD_BITS = 64, CHUNK_WORDS = TM_CHUNK_PAGES / WORD_BITS };

struct tm_bitmap {
	uint64_t pages;
	uint64_t chunk_count;
	uint64_t **chunks;
};

static uint64_t chunks_for(uint64_t pages)
{
	return pages / TM_CHUNK_PAGES + (pages % TM_CHUNK_PAGES != 0);
}

struct tm_bitmap *tm_bitmap_create(uint64_t pages)
{
	struct tm_bitmap *bitmap = calloc(1, sizeof(*bitmap));

	if (bitmap && tm_bitmap_grow(bitmap, pages) != TM_OK) {
		free(bitmap);
		return NULL;
	}
	return bitmap;
}

void tm_bitmap_destroy(struct tm_bitmap *bitmap)
{
	if (!bitmap)
		return;
	for (uint64_t i = 0; i < bitmap->chunk_count; i++)
		free(bitmap->chunks[i]);
	free(bitmap->chunks);
	free(bitmap);
}

uint64_t tm_bitmap_pages(const struct tm_bitmap *bitmap)
{
	return bitmap->pages;
}

int tm_bitmap_grow(struct tm_bitmap *bitmap, uint64_t pages)
{
	uint64_t count = chunks_for(pages);

	if (pages <= bitmap->pages)
		return TM_OK;
	if (count > bitmap->chunk_count) {
		uint64_t **chunks = realloc(bitmap->chunks, count * sizeof(*chunks));

		if (!chunks)
			return TM_MEMORY;
		memset(chunks + bitmap->chunk_count, 0,
		       (count - bitmap->chunk_count) * sizeof(*chunks));
		bitmap->chunks = chunks;
		bitmap->chunk_count = count;
	}
	bitmap->pages = pages;
	return TM_OK;
}

static uint64_t *chunk_for_writing(struct tm_bitmap *bitmap, uint64_t index)
{
	if (!bitmap->chunks[index])
		bitmap->chunks[index] = calloc(CHUNK_WORDS, sizeof(uint64_t));
	return bitmap->chunks[index];
}

/* The bits [from, to) of one word, 0 <= from < to <= 64. */
static uint64_t word_mask(unsigned from, unsigned to)
{
	return (~0ULL >> (WORD_BITS - (to - from))) << from;
}

/* Sets or clears bits [from, to) of a chunk. */
static void chunk_fill(uint64_t *chunk, unsigned from, unsigned to, bool value)
{
	while (from < to) {
		unsigned word = from / WORD_BITS;
		unsigned low = from % WORD_BITS;
		unsigned high =
			to - word * WORD_BITS < WORD_BITS ? to - word * WORD_BITS : WORD_BITS;
		uint64_t mask = word_mask(low, high);

		chunk[word] = value ? chunk[word] | mask : chunk[word] & ~mask;
		from = word * WORD_BITS + high;
	}
}

int tm_bitmap_set(struct tm_bitmap *bitmap, uint64_t first, uint64_t count)
{
	if (first > bitmap->pages || count > bitmap->pages - first)
		return TM_BOUNDS;
	for (uint64_t page = first, end = first + count; page < end;) {
		uint64_t index = page / TM_CHUNK_PAGES;
		uint64_t base = index * TM_CHUNK_PAGES;
		uint64_t stop = end - base < TM_CHUNK_PAGES ? end - base : TM_CHUNK_PAGES;
		uint64_t *chunk = chunk_for_writing(bitmap, index);

		if (!chunk)
			return TM_MEMORY;
		chunk_fill(chunk, (unsigned)(page - base), (unsigned)stop, true);
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

	for (uint64_t page = first; page < end;) {
		uint64_t index = page / TM_CHUNK_PAGES;
		uint64_t base = index * TM_CHUNK_PAGES;
		uint64_t stop = end - base < TM_CHUNK_PAGES ? end - base : TM_CHUNK_PAGES;

		if (bitmap->chunks[index])
			chunk_fill(bitmap->chunks[index], (unsigned)(page - base), (unsigned)stop,
				   false);
		page = base + stop;
	}
}

bool tm_bitmap_test(const struct tm_bitmap *bitmap, uint64_t page)
{
	const uint64_t *chunk;

	if (page >= bitmap->pages)
		return false;
	chunk = bitmap->chunks[page / TM_CHUNK_PAGES];
	if (!chunk)
		return false;
	return chunk[page % TM_CHUNK_PAGES / WORD_BITS] >> (page % WORD_BITS) & 1;
}

int tm_bitmap_or(struct tm_bitmap *bitmap, const struct tm_bitmap *other)
{
	int code = tm_bitmap_grow(bitmap, other->pages);

	for (uint64_t i = 0; i < other->chunk_count && code == TM_OK; i++) {
		uint64_t *chunk;

		if (!other->chunks[i])
			continue;
		chunk = chunk_for_writing(bitmap, i);
		if (!chunk)
			return TM_MEMORY;
		for (unsigned word = 0; word < CHUNK_WORDS; word++)
			chunk[word] |= other->chunks[i][word];
	}
	return code;
}

void tm_bitmap_and(struct tm_bitmap *bitmap, const struct tm_bitmap *other)
{
	for (uint64_t i = 0; i < bitmap->chunk_count; i++) {
		uint64_t *chunk = bitmap->chunks[i];

		if (!chunk)
			continue;
		if (i >= other->chunk_count || !other->chunks[i]) {
			free(chunk);
			bitmap->chunks[i] = NULL;
			continue;
		}
		for (unsigned word = 0; word < CHUNK_WORDS; word++)
			chunk[word] &= other->chunks[i][word];
	}
}

void tm_bitmap_andnot(struct tm_bitmap *bitmap, const struct tm_bitmap *other)
{
	for (uint64_t i = 0; i < bitmap->chunk_count && i < other->chunk_count; i++) {
		uint64_t *chunk = bitmap->chunks[i];

		if (!chunk || !other->chunks[i])
			continue;
		for (unsigned word = 0; word < CHUNK_WORDS; word++)
			chunk[word] &= ~other->chunks[i][word];
	}
}

uint64_t tm_bitmap_count(const struct tm_bitmap *bitmap)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < bitmap->chunk_count; i++)
		for (unsigned word = 0; bitmap->chunks[i] && word < CHUNK_WORDS; word++)
			count += (unsigned)__builtin_popcountll(bitmap->chunks[i][word]);
	return count;
}

/* The first page at or after `page` whose bit is `value`, or the end. */
static uint64_t find(const struct tm_bitmap *bitmap, uint64_t page, bool value)
{
	while (page < bitmap->pages) {
		const uint64_t *chunk = bitmap->chunks[page / TM_CHUNK_PAGES];
		uint64_t word = chunk ? chunk[page % TM_CHUNK_PAGES / WORD_BITS] : 0;
		uint64_t rest = (value ? word : ~word) >> (page % WORD_BITS);

		if (rest) {
			page += (unsigned)__builtin_ctzll(rest);
			break;
		}
		page = chunk ? (page / WORD_BITS + 1) * WORD_BITS
			     : (page / TM_CHUNK_PAGES + 1) * TM_CHUNK_PAGES;
	}
	return page < bitmap->pages ? page : bitmap->pages;
}

bool tm_bitmap_next(const struct tm_bitmap *bitmap, uint64_t from, struct tm_run *ret)
{
	ret->first = find(bitmap, from, true);
	if (ret->first >= bitmap->pages)
		return false;
	ret->count = find(bitmap, ret->first, false) - ret->first;
	return true;
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
	for (uint64_t i = 0; i < bitmap->chunk_count; i++)
		for (unsigned word = 0; bitmap->chunks[i] && word < CHUNK_WORDS; word++)
			bitmap->chunks[i][word] =
				sample_word(bitmap->chunks[i][word],
					    i * TM_CHUNK_PAGES + word * WORD_BITS, seed, threshold);
}

static bool chunk_is_empty(const uint64_t *chunk)
{
	for (unsigned word = 0; word < CHUNK_WORDS; word++)
		if (chunk[word])
			return false;
	return true;
}

const unsigned char *tm_bitmap_chunk(const struct tm_bitmap *bitmap, uint64_t index)
{
	if (index >= bitmap->chunk_count || !bitmap->chunks[index] ||
	    chunk_is_empty(bitmap->chunks[index]))
		return NULL;
	return (const unsigned char *)bitmap->chunks[index];
}

int tm_bitmap_load(struct tm_bitmap *bitmap, uint64_t index, const unsigned char *bits)
{
	uint64_t *chunk;

	if (index >= bitmap->chunk_count)
		return TM_BOUNDS;
	for (uint64_t page = bitmap->pages - index * TM_CHUNK_PAGES; page < TM_CHUNK_PAGES; page++)
		if (bits[page / 8] >> (page % 8) & 1)
			return TM_BOUNDS;
	chunk = chunk_for_writing(bitmap, index);
	if (!chunk)
		return TM_MEMORY;
	memcpy(chunk, bits, TM_CHUNK_BYTES);
	return TM_OK;
}
