/* The page map of an image: what is taken is what would be written, and within its bounds. */
#include <string.h>

#include "fuzz.h"
#include "tidemark.h"

/* What was taken is written again, and gives the same bytes. */
static void write_again(const struct tm_bitmap *present, const struct tm_bitmap *in_parent,
			const uint8_t *data, size_t size)
{
	size_t needed = tm_pagemap_encode(present, in_parent, 1 << 18, 0, NULL);
	unsigned char *written = malloc(needed + 1);
	struct tm_bitmap *here = tm_bitmap_create(tm_bitmap_pages(present));
	struct tm_bitmap *there = tm_bitmap_create(tm_bitmap_pages(present));
	struct tm_pagemap_most most = {tm_bitmap_count(present), tm_bitmap_count(in_parent)};

	PROMISE(written && here && there);
	PROMISE(tm_pagemap_encode(present, in_parent, 1 << 18, needed, written) == needed);
	PROMISE(tm_pagemap_decode(written, needed, most, here, there) == TM_OK);
	PROMISE(tm_bitmap_count(here) == most.present);
	PROMISE(tm_bitmap_count(there) == most.in_parent);
	if (needed == size && memcmp(written, data, size) != 0)
		PROMISE(needed <= size); /* another way to say the same */
	tm_bitmap_destroy(here);
	tm_bitmap_destroy(there);
	free(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tm_pagemap_most most = {0};
	struct tm_bitmap *present, *in_parent;
	uint64_t pages;

	if (size < 3)
		return 0;
	pages = 1ULL << (data[0] % 36);
	most.present = pages > 4096 ? 4096 + data[1] : data[1];
	most.in_parent = data[2];
	present = tm_bitmap_create(pages);
	in_parent = tm_bitmap_create(pages);
	PROMISE(present && in_parent);
	if (tm_pagemap_decode(data + 3, size - 3, most, present, in_parent) == TM_OK) {
		PROMISE(tm_bitmap_count(present) <= most.present);
		PROMISE(tm_bitmap_count(in_parent) <= most.in_parent);
		write_again(present, in_parent, data + 3, size - 3);
	}
	tm_bitmap_destroy(present);
	tm_bitmap_destroy(in_parent);
	return 0;
}
