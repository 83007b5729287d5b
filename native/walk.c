/*
 * A walk over selected pages: block by block they are read, packed, and worked on. A block is
 * small enough to stay in a processor's own cache from the reading to the end.
 */
#include <stdlib.h>

#include "internal.h"
#include "walk.h"

/* Fills the block with the numbers of the pages after `rest`; returns how many. */
static uint64_t take(const struct tm_walk *walk, struct tm_run *rest, struct tm_block *block)
{
	block->done += block->count;
	block->count = 0;
	while (block->count < TM_BLOCK_PAGES) {
		if (!rest->count && !tm_bitmap_next(walk->which, rest->first, rest))
			break;
		for (; rest->count && block->count < TM_BLOCK_PAGES; rest->count--)
			block->pages[block->count++] = rest->first++;
	}
	return block->count;
}

uint64_t tm_block_run(const struct tm_block *block, uint64_t from)
{
	uint64_t end = from + 1;

	while (end < block->count && block->pages[end] == block->pages[end - 1] + 1)
		end++;
	return end - from;
}

static int read_pages(const struct tm_source *source, const struct tm_block *block,
		      unsigned char *data, struct tm_error *error)
{
	uint64_t count;

	for (uint64_t i = 0; i < block->count; i += count) {
		int code;

		count = tm_block_run(block, i);
		code = tm_pages_read(source, block->pages[i], count, data + i * tm_page_size(),
				     error);
		if (code != TM_OK)
			return code;
	}
	return TM_OK;
}

int tm_walk(const struct tm_walk *walk, struct tm_error *error)
{
	size_t bytes = TM_BLOCK_PAGES * tm_page_size();
	TM_CLEANUP(tm_free) unsigned char *data = malloc(bytes);
	TM_CLEANUP(tm_free) unsigned char *other = walk->other ? malloc(bytes) : NULL;
	struct tm_block block = {.data = data, .other = other};
	struct tm_run rest = {0};

	if (!data || (walk->other && !other))
		return tm_fail(error, TM_MEMORY, "allocate a buffer for pages");
	while (take(walk, &rest, &block)) {
		int code = read_pages(walk->source, &block, data, error);

		if (code == TM_OK && walk->other)
			code = read_pages(walk->other, &block, other, error);
		if (code == TM_OK)
			code = walk->work(&block, walk->context, error);
		if (code != TM_OK)
			return code;
	}
	return TM_OK;
}
