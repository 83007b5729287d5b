/*
 * How a bitmap is kept: the words of 4096 pages each, a leaf, where one of them is set or was. So
 * its memory is proportional to what is set, and not to the size of the region.
 */
#ifndef TM_BITMAP_H
#define TM_BITMAP_H

#include "internal.h"

enum { TM_WORD_BITS = 64, TM_LEAF_PAGES = 4096, TM_LEAF_WORDS = TM_LEAF_PAGES / TM_WORD_BITS };

struct tm_leaf {
	uint64_t index; /* of its first page, in leaves */
	uint64_t *words;
};

struct tm_bitmap {
	uint64_t pages;
	struct tm_leaf *leaves; /* ascending */
	size_t count;
	size_t capacity;
};

/* The place of the first leaf at or after `index`. */
size_t tm_leaf_find(const struct tm_bitmap *bitmap, uint64_t index);
/* The words of a leaf, made if it is not there; NULL where there is no memory. */
uint64_t *tm_leaf_make(struct tm_bitmap *bitmap, uint64_t index);
/* Makes room for `count` leaves in all. */
int tm_leaves_reserve(struct tm_bitmap *bitmap, size_t count);
bool tm_leaf_is_empty(const uint64_t *words);

#endif
