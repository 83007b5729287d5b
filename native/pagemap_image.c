/*
 * The entries of CRIU's pagemap-shmem-N.img: messages of protobuf, each with its length before it.
 * A dump of scattered pages has many thousands.
 */
#define _GNU_SOURCE
#include <string.h>

#include "internal.h"

enum { LENGTH_BYTES = 4, MOST_BYTES = 64 }; /* of one entry */
enum { PARENT = 1, PRESENT = 4 };

/* A field of PagemapEntry: the tag of a varint, and the varint. */
static size_t put_field(unsigned char *out, unsigned number, uint64_t value)
{
	size_t size = 0;

	out[size++] = (unsigned char)(number << 3);
	for (; value >= 0x80; value >>= 7)
		out[size++] = (unsigned char)(value | 0x80);
	out[size++] = (unsigned char)value;
	return size;
}

static size_t put_entry(unsigned char *out, struct tm_run run, unsigned flags)
{
	size_t size = LENGTH_BYTES;
	uint32_t length;

	size += put_field(out + size, 1, run.first * tm_page_size());
	/* CRIU 3.17 knows only the first of the lengths, 4.2 reads the second where it is there. */
	size += put_field(out + size, 2, run.count);
	size += put_field(out + size, 4, flags);
	size += put_field(out + size, 5, run.count);
	length = (uint32_t)size - LENGTH_BYTES;
	memcpy(out, &length, LENGTH_BYTES);
	return size;
}

struct cursor {
	const struct tm_bitmap *pages;
	struct tm_run run;
	bool valid;
};

static void advance(struct cursor *cursor, uint64_t count)
{
	cursor->run.first += count;
	cursor->run.count -= count;
	if (!cursor->run.count)
		cursor->valid = tm_bitmap_next(cursor->pages, cursor->run.first, &cursor->run);
}

size_t tm_pagemap_encode(const struct tm_bitmap *present, const struct tm_bitmap *in_parent,
			 uint64_t most, size_t capacity, unsigned char *ret)
{
	struct cursor here = {.pages = present}, there = {.pages = in_parent};
	size_t size = 0;

	advance(&here, 0);
	advance(&there, 0);
	while (here.valid || there.valid) {
		bool is_here = !there.valid || (here.valid && here.run.first < there.run.first);
		struct cursor *next = is_here ? &here : &there;
		struct tm_run run = next->run;
		unsigned char entry[MOST_BYTES];
		size_t bytes;

		if (run.count > most)
			run.count = most;
		bytes = put_entry(entry, run, is_here ? PRESENT : PARENT);
		if (size + bytes <= capacity)
			memcpy(ret + size, entry, bytes);
		size += bytes;
		advance(next, run.count);
	}
	return size;
}
