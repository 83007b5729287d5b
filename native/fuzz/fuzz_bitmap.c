/* The chunks of a bitmap as a file has them: a chunk is loaded whole, or not at all. */
#include <string.h>

#include "fuzz.h"
#include "tidemark.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned char bits[TM_CHUNK_BYTES], read[TM_CHUNK_BYTES];
	struct tm_bitmap *bitmap;
	uint64_t index, pages, before;

	if (size < 16)
		return 0;
	memcpy(&pages, data, 8);
	memcpy(&index, data + 8, 8);
	pages %= 1ULL << 40;
	memset(bits, 0, sizeof(bits));
	memcpy(bits, data + 16, size - 16 < sizeof(bits) ? size - 16 : sizeof(bits));
	bitmap = tm_bitmap_create(pages);
	PROMISE(bitmap);
	before = tm_bitmap_count(bitmap);
	if (tm_bitmap_load(bitmap, index, bits) == TM_OK) {
		uint64_t first = index, found = 0;
		struct tm_run run;

		if (tm_bitmap_chunk(bitmap, first, &found, read))
			PROMISE(found == index && memcmp(read, bits, sizeof(bits)) == 0);
		if (tm_bitmap_next(bitmap, 0, &run))
			PROMISE(run.first < pages && run.count <= pages - run.first);
	} else {
		PROMISE(tm_bitmap_count(bitmap) == before);
	}
	tm_bitmap_destroy(bitmap);
	return 0;
}
