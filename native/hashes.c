/* Hashes of files, and hashes compared page by page. */
#include <stdlib.h>
#include <string.h>

#include "hashes.h"
#include "internal.h"

enum { BUFFER_BYTES = 1 << 17 }; /* what stays in a processor's own cache */

const struct tm_xxh3 *tm_xxh3(void)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2"))
		return &tm_xxh3_avx2;
#endif
	return &tm_xxh3_plain;
}

void tm_hash(const unsigned char *data, size_t bytes, unsigned char *ret)
{
	tm_xxh3()->hash(data, bytes, ret);
}

int tm_file_hash(int fd, uint64_t bytes, unsigned char *ret, struct tm_error *error)
{
	TM_CLEANUP(tm_free) unsigned char *data = aligned_alloc(tm_page_size(), BUFFER_BYTES);
	const struct tm_xxh3 *xxh3 = tm_xxh3();
	void *state = xxh3->create();
	int code = data && state ? TM_OK : tm_fail(error, TM_MEMORY, "allocate a hash state");

	for (uint64_t done = 0; code == TM_OK && done < bytes;) {
		uint64_t piece = bytes - done < BUFFER_BYTES ? bytes - done : BUFFER_BYTES;

		code = tm_pread_all(fd, data, piece, done, error);
		if (code == TM_OK)
			xxh3->add(state, data, piece);
		done += piece;
	}
	if (state)
		xxh3->destroy(state, code == TM_OK ? ret : NULL);
	return code;
}

/* One side of a comparison of hashes: its selected pages in order. */
struct cursor {
	const struct tm_bitmap *which;
	const unsigned char *hashes;
	struct tm_run run;
	bool valid;
};

static void cursor_init(struct cursor *cursor, const struct tm_bitmap *which,
			const unsigned char *hashes)
{
	cursor->which = which;
	cursor->hashes = hashes;
	cursor->valid = tm_bitmap_next(which, 0, &cursor->run);
}

static void cursor_advance(struct cursor *cursor)
{
	cursor->hashes += TM_HASH_BYTES;
	cursor->run.first++;
	if (--cursor->run.count == 0)
		cursor->valid = tm_bitmap_next(cursor->which, cursor->run.first, &cursor->run);
}

int tm_hashes_compare(const struct tm_bitmap *which, const unsigned char *hashes,
		      const struct tm_bitmap *other, const unsigned char *other_hashes,
		      struct tm_bitmap *differs, struct tm_error *error)
{
	struct cursor a, b;

	cursor_init(&a, which, hashes);
	cursor_init(&b, other, other_hashes);
	while (a.valid || b.valid) {
		bool in_a = a.valid && (!b.valid || a.run.first <= b.run.first);
		bool in_b = b.valid && (!a.valid || b.run.first <= a.run.first);
		uint64_t page = in_a ? a.run.first : b.run.first;

		if (!(in_a && in_b && memcmp(a.hashes, b.hashes, TM_HASH_BYTES) == 0) &&
		    tm_bitmap_mark(differs, page, error) != TM_OK)
			return error->code;
		if (in_a)
			cursor_advance(&a);
		if (in_b)
			cursor_advance(&b);
	}
	return TM_OK;
}

int tm_hashes_find(const struct tm_bitmap *which, const unsigned char *hashes,
		   const unsigned char *wanted, struct tm_bitmap *found, struct tm_error *error)
{
	struct cursor cursor;

	cursor_init(&cursor, which, hashes);
	for (; cursor.valid; cursor_advance(&cursor))
		if (memcmp(cursor.hashes, wanted, TM_HASH_BYTES) == 0 &&
		    tm_bitmap_mark(found, cursor.run.first, error) != TM_OK)
			return error->code;
	return TM_OK;
}
