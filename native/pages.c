/* The content of selected pages: packed, copied, placed, hashed, compared. */
#include <string.h>
#include <unistd.h>

#include "hashes.h"
#include "internal.h"
#include "walk.h"

struct hashing {
	const struct tm_xxh3 *xxh3;
	unsigned char *hashes; /* of each page; may be NULL */
	int out;
	uint64_t offset; /* in that file, of the first page */
};

static int hash_block(struct tm_block *block, void *context, struct tm_error *error)
{
	const struct hashing *hashing = context;
	uint64_t size = tm_page_size();

	(void)error;
	for (uint64_t i = 0; i < block->count; i++)
		hashing->xxh3->hash(block->data + i * size, size,
				    hashing->hashes + (block->done + i) * TM_HASH_BYTES);
	return TM_OK;
}

static int pack_block(struct tm_block *block, void *context, struct tm_error *error)
{
	const struct hashing *hashing = context;
	uint64_t size = tm_page_size();

	if (hashing->hashes)
		(void)hash_block(block, context, error);
	return tm_pwrite_all(hashing->out, block->data, block->count * size,
			     hashing->offset + block->done * size, error);
}

int tm_pages_pack(const struct tm_source *source, const struct tm_bitmap *which, int out,
		  unsigned char *hashes, struct tm_error *error)
{
	struct hashing hashing = {.xxh3 = tm_xxh3(), .hashes = hashes, .out = out};
	struct tm_walk walk = {
		.source = source, .which = which, .work = pack_block, .context = &hashing};
	off_t offset = lseek(out, 0, SEEK_CUR);
	int code;

	if (offset < 0)
		return tm_fail(error, TM_SYSTEM, "seek in a file of pages");
	hashing.offset = (uint64_t)offset;
	code = tm_walk(&walk, error);
	if (code == TM_OK &&
	    lseek(out, (off_t)(tm_bitmap_count(which) * tm_page_size()), SEEK_CUR) < 0)
		return tm_fail(error, TM_SYSTEM, "seek in a file of pages");
	return code;
}

int tm_pages_hash(const struct tm_source *source, const struct tm_bitmap *which,
		  unsigned char *hashes, struct tm_error *error)
{
	struct hashing hashing = {.xxh3 = tm_xxh3(), .hashes = hashes};
	struct tm_walk walk = {
		.source = source, .which = which, .work = hash_block, .context = &hashing};

	return tm_walk(&walk, error);
}

int tm_pages_copy(const struct tm_source *source, const struct tm_bitmap *which, unsigned char *out,
		  struct tm_error *error)
{
	struct tm_walk walk = {.source = source, .which = which, .packed = out};

	return tm_walk(&walk, error);
}

static bool is_zero(const unsigned char *page, uint64_t size)
{
	/* The first word settles nearly every page; then the page is compared with itself. */
	uint64_t word;

	memcpy(&word, page, sizeof(word));
	return word == 0 && memcmp(page, page + sizeof(word), size - sizeof(word)) == 0;
}

static int place_block(struct tm_block *block, void *context, struct tm_error *error)
{
	const int *out = context;
	uint64_t size = tm_page_size();

	for (uint64_t i = 0; i < block->count; i++) {
		uint64_t from = i, end = i + tm_block_run(block, i);
		int code;

		while (i < end && !is_zero(block->data + i * size, size))
			i++;
		code = tm_pwrite_all(*out, block->data + from * size, (i - from) * size,
				     block->pages[from] * size, error);
		if (code != TM_OK)
			return code;
		if (i == end)
			i--; /* the next page does not follow */
	}
	return TM_OK;
}

int tm_pages_place(const struct tm_source *source, const struct tm_bitmap *which, int out,
		   struct tm_error *error)
{
	struct tm_walk walk = {
		.source = source, .which = which, .work = place_block, .context = &out};

	return tm_walk(&walk, error);
}

static int compare_block(struct tm_block *block, void *context, struct tm_error *error)
{
	uint64_t size = tm_page_size();

	(void)context;
	(void)error;
	for (uint64_t i = 0; i < block->count; i++)
		if (memcmp(block->data + i * size, block->other + i * size, size) != 0)
			block->found |= UINT32_C(1) << i;
	return TM_OK;
}

int tm_pages_compare(const struct tm_source *source, const struct tm_source *other,
		     const struct tm_bitmap *which, struct tm_bitmap *differs,
		     struct tm_error *error)
{
	struct tm_walk walk = {.source = source,
			       .other = other,
			       .which = which,
			       .found = differs,
			       .work = compare_block};

	return tm_walk(&walk, error);
}

static int zero_block(struct tm_block *block, void *context, struct tm_error *error)
{
	uint64_t size = tm_page_size();

	(void)context;
	(void)error;
	for (uint64_t i = 0; i < block->count; i++)
		if (is_zero(block->data + i * size, size))
			block->found |= UINT32_C(1) << i;
	return TM_OK;
}

int tm_pages_zero(const struct tm_source *source, const struct tm_bitmap *which,
		  struct tm_bitmap *zero, struct tm_error *error)
{
	struct tm_walk walk = {.source = source, .which = which, .found = zero, .work = zero_block};

	return tm_walk(&walk, error);
}
