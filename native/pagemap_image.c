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

/* The value of a field that must be the next one; false where another stands there. */
static bool get_field(const unsigned char **at, const unsigned char *end, unsigned number,
		      uint64_t *ret)
{
	unsigned shift = 0;

	if (*at == end || *(*at)++ != number << 3)
		return false;
	*ret = 0;
	while (*at < end && shift < 64) {
		unsigned char byte = *(*at)++;

		*ret |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
		if (!(byte & 0x80))
			return true;
	}
	return false;
}

/* Reads an entry as put_entry() writes it; false for any other. */
static bool get_entry(const unsigned char **at, const unsigned char *end, struct tm_run *ret,
		      uint64_t *ret_flags)
{
	uint64_t address, again;
	uint32_t length;

	if ((size_t)(end - *at) < LENGTH_BYTES)
		return false;
	memcpy(&length, *at, LENGTH_BYTES);
	*at += LENGTH_BYTES;
	if ((size_t)(end - *at) < length)
		return false;
	end = *at + length;
	if (!get_field(at, end, 1, &address) || !get_field(at, end, 2, &ret->count) ||
	    !get_field(at, end, 4, ret_flags) || !get_field(at, end, 5, &again))
		return false;
	ret->first = address / tm_page_size();
	return *at == end && again == ret->count && address % tm_page_size() == 0;
}

int tm_pagemap_decode(const unsigned char *bytes, size_t size, struct tm_pagemap_most most,
		      struct tm_bitmap *present, struct tm_bitmap *in_parent)
{
	const unsigned char *at = bytes;
	uint64_t next = 0;

	while (at < bytes + size) {
		struct tm_run run;
		uint64_t flags, *left;
		int code;

		if (!get_entry(&at, bytes + size, &run, &flags) || run.first < next ||
		    (flags != PRESENT && flags != PARENT))
			return TM_CHANGED;
		left = flags == PRESENT ? &most.present : &most.in_parent;
		if (run.count == 0 || run.count > *left)
			return TM_CHANGED;
		*left -= run.count;
		code = tm_bitmap_set(flags == PRESENT ? present : in_parent, run.first, run.count);
		if (code != TM_OK)
			return code == TM_BOUNDS ? TM_CHANGED : code;
		next = run.first + run.count;
	}
	return TM_OK;
}
