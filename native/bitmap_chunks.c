/* Bitmaps as they go to others: chunk by chunk, and as runs of whole blocks. */
#include <string.h>

#include "bitmap.h"

enum {
	CHUNK_LEAVES = TM_CHUNK_PAGES / TM_LEAF_PAGES,
	LEAF_BYTES = TM_LEAF_PAGES / 8,
};

bool tm_bitmap_chunk(const struct tm_bitmap *bitmap, uint64_t from, uint64_t *ret_index,
		     unsigned char *ret)
{
	size_t i = tm_leaf_find(bitmap, from * CHUNK_LEAVES);

	while (i < bitmap->count && tm_leaf_is_empty(bitmap->leaves[i].words))
		i++;
	if (i == bitmap->count)
		return false;
	*ret_index = bitmap->leaves[i].index / CHUNK_LEAVES;
	memset(ret, 0, TM_CHUNK_BYTES);
	for (; i < bitmap->count && bitmap->leaves[i].index / CHUNK_LEAVES == *ret_index; i++)
		memcpy(ret + bitmap->leaves[i].index % CHUNK_LEAVES * LEAF_BYTES,
		       bitmap->leaves[i].words, LEAF_BYTES);
	return true;
}

int tm_bitmap_load(struct tm_bitmap *bitmap, uint64_t index, const unsigned char *bits)
{
	uint64_t first = index * TM_CHUNK_PAGES;

	if (index > bitmap->pages / TM_CHUNK_PAGES || first >= bitmap->pages)
		return TM_BOUNDS;
	for (uint64_t page = bitmap->pages - first; page < TM_CHUNK_PAGES; page++)
		if (bits[page / 8] >> (page % 8) & 1)
			return TM_BOUNDS;
	tm_bitmap_clear(bitmap, first, TM_CHUNK_PAGES);
	for (unsigned leaf = 0; leaf < CHUNK_LEAVES; leaf++) {
		uint64_t words[TM_LEAF_WORDS];
		uint64_t *ours;

		memcpy(words, bits + leaf * LEAF_BYTES, LEAF_BYTES);
		if (tm_leaf_is_empty(words))
			continue;
		ours = tm_leaf_make(bitmap, index * CHUNK_LEAVES + leaf);
		if (!ours)
			return TM_MEMORY;
		memcpy(ours, words, LEAF_BYTES);
	}
	return TM_OK;
}

bool tm_bitmap_next_blocks(const struct tm_bitmap *bitmap, uint64_t block, uint64_t from,
			   struct tm_run *ret)
{
	struct tm_run run;
	uint64_t end;

	if (!tm_bitmap_next(bitmap, from, &run))
		return false;
	ret->first = run.first / block * block;
	do
		end = (run.first + run.count + block - 1) / block * block;
	while (tm_bitmap_next(bitmap, end, &run) && run.first < end + block);
	if (end > bitmap->pages)
		end = bitmap->pages;
	ret->count = end - ret->first;
	return true;
}
