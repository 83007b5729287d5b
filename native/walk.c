/*
 * A walk over selected pages: block by block they are read, packed, and worked on. A block is
 * small enough to stay in a processor's own cache from the reading to the end. Each thread takes
 * the next block that nobody has taken.
 */
#include <pthread.h>
#include <stdlib.h>

#include "internal.h"
#include "pool.h"
#include "walk.h"

/* How far the threads of a walk are. */
struct progress {
	const struct tm_walk *walk;
	pthread_mutex_t lock;
	struct tm_run rest;
	uint64_t done;
	struct tm_error *error; /* the first one, which ends the walk */
	int code;
};

static void progress_fail(struct progress *progress, int code, const struct tm_error *error)
{
	if (progress->code == TM_OK) {
		progress->code = code;
		*progress->error = *error;
	}
}

/* Fills the block with the numbers of the next pages; returns how many. */
static uint64_t fill(struct progress *progress, struct tm_block *block)
{
	struct tm_run *rest = &progress->rest;

	block->done = progress->done;
	block->count = 0;
	block->found = 0;
	while (block->count < TM_BLOCK_PAGES) {
		if (!rest->count && !tm_bitmap_next(progress->walk->which, rest->first, rest))
			break;
		for (; rest->count && block->count < TM_BLOCK_PAGES; rest->count--)
			block->pages[block->count++] = rest->first++;
	}
	progress->done += block->count;
	return block->count;
}

/* Notes what was found in a block, and how the work on it went. */
static void note(struct progress *progress, const struct tm_block *block, int code,
		 struct tm_error *error)
{
	for (uint32_t left = block->found; left && code == TM_OK; left &= left - 1)
		code = tm_bitmap_mark(progress->walk->found, block->pages[__builtin_ctz(left)],
				      error);
	if (code != TM_OK)
		progress_fail(progress, code, error);
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

static int work_on(const struct tm_walk *walk, struct tm_block *block, unsigned char *buffer,
		   struct tm_error *error)
{
	size_t size = tm_page_size();
	unsigned char *data = walk->packed ? walk->packed + block->done * size : buffer;
	unsigned char *other = buffer + TM_BLOCK_PAGES * size;
	int code = walk->in_place ? TM_OK : read_pages(walk->source, block, data, error);

	if (code == TM_OK && walk->other)
		code = read_pages(walk->other, block, other, error);
	block->data = data;
	block->other = other;
	return code == TM_OK && walk->work ? walk->work(block, walk->context, error) : code;
}

/* What each thread does. */
static void walk_on(void *context)
{
	struct progress *progress = context;
	size_t bytes = TM_BLOCK_PAGES * tm_page_size();
	/* Aligned: to where it is not, some processors copy at a third of the speed. */
	TM_CLEANUP(tm_free) unsigned char *buffer = aligned_alloc(tm_page_size(), 2 * bytes);
	struct tm_block block = {.count = 0};
	struct tm_error error;
	int code = buffer ? TM_OK : tm_fail(&error, TM_MEMORY, "allocate a buffer for pages");

	pthread_mutex_lock(&progress->lock);
	for (;;) {
		note(progress, &block, code, &error);
		if (progress->code != TM_OK || !fill(progress, &block))
			break;
		pthread_mutex_unlock(&progress->lock);
		code = work_on(progress->walk, &block, buffer, &error);
		pthread_mutex_lock(&progress->lock);
	}
	pthread_mutex_unlock(&progress->lock);
}

int tm_walk(const struct tm_walk *walk, struct tm_error *error)
{
	struct progress progress = {
		.walk = walk, .lock = PTHREAD_MUTEX_INITIALIZER, .error = error, .code = TM_OK};

	if (tm_bitmap_count(walk->which) > TM_BLOCK_PAGES)
		tm_pool_share(walk->source->pool, walk_on, &progress);
	else /* nothing to share */
		walk_on(&progress);
	return progress.code;
}
