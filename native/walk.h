/* Walking over the content of pages: what the files about pages share. */
#ifndef TM_WALK_H
#define TM_WALK_H

#include "tidemark.h"

enum { TM_BLOCK_PAGES = 32 };

/* Some of the selected pages, in order. */
struct tm_block {
	uint64_t done; /* selected pages before this block */
	uint64_t count;
	uint64_t pages[TM_BLOCK_PAGES]; /* their numbers, ascending */
	const unsigned char *data;	/* their content, packed */
	const unsigned char *other;	/* that of the same pages of a second source */
	uint32_t found;			/* for the work to say: a bit for each */
};

/* How many pages from the block's page `from` on follow each other. */
uint64_t tm_block_run(const struct tm_block *block, uint64_t from);

struct tm_walk {
	const struct tm_source *source;
	const struct tm_source *other; /* NULL where one source is enough */
	const struct tm_bitmap *which;
	struct tm_bitmap *found; /* takes the pages that the work has found; may be NULL */
	bool in_place;		 /* nothing is read: the work knows where the pages are */
	unsigned char *packed;	 /* where the content goes; NULL for a buffer of each thread */
	/* Is called by several threads, for one block each; NULL where reading is all. */
	int (*work)(struct tm_block *block, void *context, struct tm_error *error);
	void *context;
};

/* Reads each block of the selected pages and works on it, in the threads of the source's pool. */
int tm_walk(const struct tm_walk *walk, struct tm_error *error);

#endif
