/*
 * The content of pages: read, packed, placed, hashed, compared. All of it streams through
 * buffers of 1 MiB, whatever the size of the object.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "internal.h"

enum { BUFFER_BYTES = 1 << 20 };

/* The first extent that ends after `page`. */
static size_t find_extent(const struct tm_source *source, uint64_t page)
{
	size_t low = 0, high = source->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (source->extents[middle].page + source->extents[middle].count <= page)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int tm_pages_read(const struct tm_source *source, uint64_t page, uint64_t count, unsigned char *ret,
		  struct tm_error *error)
{
	uint64_t size = tm_page_size();
	uint64_t end = page + count;

	for (size_t i = find_extent(source, page); page < end; i++) {
		const struct tm_extent *extent = i < source->count ? &source->extents[i] : NULL;
		uint64_t start = extent && extent->page < end ? extent->page : end;
		uint64_t piece;
		int code;

		if (page < start) {
			memset(ret, 0, (start - page) * size);
			ret += (start - page) * size;
			page = start;
		}
		if (page == end)
			break;
		piece = extent->page + extent->count < end ? extent->page + extent->count : end;
		piece -= page;
		code = tm_pread_all(extent->fd, ret, piece * size,
				    extent->offset + (page - extent->page) * size, error);
		if (code != TM_OK)
			return code;
		ret += piece * size;
		page += piece;
	}
	return TM_OK;
}

/* One step of a walk over the selected pages: `count` pages from `page` on, now in `data`. */
struct block {
	uint64_t page;
	uint64_t count;
	uint64_t done; /* selected pages before this block */
	unsigned char *data;
	const unsigned char *other; /* the same pages of a second source */
};

typedef int block_function(const struct block *block, void *context, struct tm_error *error);

struct walk {
	const struct tm_source *source;
	const struct tm_source *other; /* NULL where one source is enough */
	const struct tm_bitmap *which;
	block_function *function;
	void *context;
};

static int walk_run(const struct walk *walk, struct tm_run run, struct block *block,
		    struct tm_error *error)
{
	uint64_t capacity = BUFFER_BYTES / tm_page_size();

	while (run.count) {
		int code;

		block->page = run.first;
		block->count = run.count < capacity ? run.count : capacity;
		code = tm_pages_read(walk->source, block->page, block->count, block->data, error);
		if (code == TM_OK && walk->other)
			code = tm_pages_read(walk->other, block->page, block->count,
					     (unsigned char *)block->other, error);
		if (code == TM_OK)
			code = walk->function(block, walk->context, error);
		if (code != TM_OK)
			return code;
		block->done += block->count;
		run.first += block->count;
		run.count -= block->count;
	}
	return TM_OK;
}

static int walk_selected(const struct walk *walk, struct tm_error *error)
{
	TM_CLEANUP(tm_free) unsigned char *data = malloc(BUFFER_BYTES);
	TM_CLEANUP(tm_free) unsigned char *other = walk->other ? malloc(BUFFER_BYTES) : NULL;
	struct block block = {.data = data, .other = other};
	struct tm_run run = {0};

	if (!data || (walk->other && !other))
		return tm_fail(error, TM_MEMORY, "allocate a buffer for pages");
	while (tm_bitmap_next(walk->which, run.first + run.count, &run)) {
		int code = walk_run(walk, run, &block, error);

		if (code != TM_OK)
			return code;
	}
	return TM_OK;
}

static void put_hash(XXH128_hash_t hash, unsigned char *ret)
{
	XXH128_canonicalFromHash((XXH128_canonical_t *)ret, hash);
}

static void hash_block(const struct block *block, unsigned char *hashes)
{
	uint64_t size = tm_page_size();

	for (uint64_t i = 0; i < block->count; i++)
		put_hash(XXH3_128bits(block->data + i * size, size),
			 hashes + (block->done + i) * TM_HASH_BYTES);
}

struct pack_context {
	int out;
	unsigned char *hashes;
	XXH3_state_t *state;
};

static int pack_block(const struct block *block, void *context, struct tm_error *error)
{
	struct pack_context *pack = context;

	if (pack->hashes)
		hash_block(block, pack->hashes);
	if (pack->state)
		XXH3_128bits_update(pack->state, block->data, block->count * tm_page_size());
	return tm_write_all(pack->out, block->data, block->count * tm_page_size(), error);
}

int tm_pages_pack(const struct tm_source *source, const struct tm_bitmap *which, int out,
		  unsigned char *hashes, unsigned char *total, struct tm_error *error)
{
	struct pack_context context = {.out = out, .hashes = hashes};
	struct walk walk = {
		.source = source, .which = which, .function = pack_block, .context = &context};
	int code;

	context.state = total ? XXH3_createState() : NULL;
	if (total && !context.state)
		return tm_fail(error, TM_MEMORY, "allocate a hash state");
	if (context.state)
		XXH3_128bits_reset(context.state);
	code = walk_selected(&walk, error);
	if (code == TM_OK && total)
		put_hash(XXH3_128bits_digest(context.state), total);
	XXH3_freeState(context.state);
	return code;
}

static bool is_zero(const unsigned char *page, uint64_t size)
{
	/* The first word settles nearly every page; then the page is compared with itself. */
	uint64_t word;

	memcpy(&word, page, sizeof(word));
	return word == 0 && memcmp(page, page + sizeof(word), size - sizeof(word)) == 0;
}

static int place_block(const struct block *block, void *context, struct tm_error *error)
{
	const int *out = context;
	uint64_t size = tm_page_size();

	for (uint64_t i = 0; i < block->count;) {
		uint64_t from = i;
		int code;

		while (i < block->count && !is_zero(block->data + i * size, size))
			i++;
		code = tm_pwrite_all(*out, block->data + from * size, (i - from) * size,
				     (block->page + from) * size, error);
		if (code != TM_OK)
			return code;
		while (i < block->count && is_zero(block->data + i * size, size))
			i++;
	}
	return TM_OK;
}

int tm_pages_place(const struct tm_source *source, const struct tm_bitmap *which, int out,
		   struct tm_error *error)
{
	struct walk walk = {
		.source = source, .which = which, .function = place_block, .context = &out};

	return walk_selected(&walk, error);
}

static int hash_only(const struct block *block, void *context, struct tm_error *error)
{
	(void)error;
	hash_block(block, context);
	return TM_OK;
}

int tm_pages_hash(const struct tm_source *source, const struct tm_bitmap *which,
		  unsigned char *hashes, struct tm_error *error)
{
	struct walk walk = {
		.source = source, .which = which, .function = hash_only, .context = hashes};

	return walk_selected(&walk, error);
}

/* Sets one page of a result that must be long enough. */
static int mark(struct tm_bitmap *bitmap, uint64_t page, struct tm_error *error)
{
	int code = tm_bitmap_set(bitmap, page, 1);

	return code == TM_OK ? TM_OK
			     : tm_fail(error, code, "mark page %llu", (unsigned long long)page);
}

static int compare_block(const struct block *block, void *context, struct tm_error *error)
{
	uint64_t size = tm_page_size();

	for (uint64_t i = 0; i < block->count; i++) {
		if (memcmp(block->data + i * size, block->other + i * size, size) == 0)
			continue;
		if (mark(context, block->page + i, error) != TM_OK)
			return error->code;
	}
	return TM_OK;
}

int tm_pages_compare(const struct tm_source *source, const struct tm_source *other,
		     const struct tm_bitmap *which, struct tm_bitmap *differs,
		     struct tm_error *error)
{
	struct walk walk = {.source = source,
			    .other = other,
			    .which = which,
			    .function = compare_block,
			    .context = differs};

	return walk_selected(&walk, error);
}

static int zero_block(const struct block *block, void *context, struct tm_error *error)
{
	uint64_t size = tm_page_size();

	for (uint64_t i = 0; i < block->count; i++)
		if (is_zero(block->data + i * size, size) &&
		    mark(context, block->page + i, error) != TM_OK)
			return error->code;
	return TM_OK;
}

int tm_pages_zero(const struct tm_source *source, const struct tm_bitmap *which,
		  struct tm_bitmap *zero, struct tm_error *error)
{
	struct walk walk = {
		.source = source, .which = which, .function = zero_block, .context = zero};

	return walk_selected(&walk, error);
}

int tm_pages_copy(const struct tm_source *source, const struct tm_bitmap *which, unsigned char *out,
		  struct tm_error *error)
{
	struct tm_run run = {0};

	while (tm_bitmap_next(which, run.first + run.count, &run)) {
		int code = tm_pages_read(source, run.first, run.count, out, error);

		if (code != TM_OK)
			return code;
		out += run.count * tm_page_size();
	}
	return TM_OK;
}

/* Adds to `data` the pages from byte `start` up to byte `end` that hold data. */
static int find_data(int fd, off_t start, off_t end, struct tm_bitmap *data, struct tm_error *error)
{
	uint64_t size = tm_page_size();

	/* lseek(2): SEEK_DATA finds pages in memory and in swap; ENXIO: only holes follow. */
	while (start < end) {
		off_t stop;
		int code;

		start = lseek(fd, start, SEEK_DATA);
		if (start < 0 && errno == ENXIO)
			break;
		if (start >= end)
			break;
		stop = start < 0 ? start : lseek(fd, start, SEEK_HOLE);
		if (stop < 0)
			return tm_fail(error, TM_SYSTEM, "look for data");
		if (stop > end)
			stop = end;
		code = tm_bitmap_set(data, (uint64_t)start / size,
				     ((uint64_t)stop + size - 1) / size - (uint64_t)start / size);
		if (code != TM_OK)
			return tm_fail(error, code, "mark data at %#llx",
				       (unsigned long long)start);
		start = stop;
	}
	return TM_OK;
}

int tm_pages_data(int fd, struct tm_bitmap *data, struct tm_error *error)
{
	return find_data(fd, 0, (off_t)(tm_bitmap_pages(data) * tm_page_size()), data, error);
}

int tm_pages_born(int fd, const struct tm_bitmap *data, struct tm_bitmap *born,
		  struct tm_error *error)
{
	uint64_t size = tm_page_size();
	uint64_t page = 0, end = tm_bitmap_pages(born);
	struct tm_run known;

	while (page < end) {
		uint64_t gap_end = end;
		int code;

		if (!tm_bitmap_next(data, page, &known))
			known = (struct tm_run){.first = end};
		if (known.first < gap_end)
			gap_end = known.first;
		code = find_data(fd, (off_t)(page * size), (off_t)(gap_end * size), born, error);
		if (code != TM_OK)
			return code;
		page = known.first + known.count;
	}
	return TM_OK;
}

size_t tm_extents_packed(const struct tm_bitmap *which, const struct tm_bitmap *packed, int fd,
			 uint64_t offset, size_t capacity, struct tm_extent *ret)
{
	struct tm_run run = {0};
	size_t found = 0;

	for (; tm_bitmap_next(packed, run.first + run.count, &run);
	     offset += run.count * tm_page_size()) {
		struct tm_run part = {.first = run.first};

		while (tm_bitmap_next(which, part.first + part.count, &part) &&
		       part.first < run.first + run.count) {
			if (found < capacity)
				ret[found] = (struct tm_extent){
					.page = part.first,
					.count = part.count,
					.offset =
						offset + (part.first - run.first) * tm_page_size(),
					.fd = fd};
			found++;
		}
	}
	return found;
}

static int by_page(const void *one, const void *other)
{
	uint64_t a = ((const struct tm_extent *)one)->page;
	uint64_t b = ((const struct tm_extent *)other)->page;

	return (a > b) - (a < b);
}

void tm_extents_sort(struct tm_extent *extents, size_t count)
{
	qsort(extents, count, sizeof(*extents), by_page);
}

int tm_page_mapped(int fd, uint64_t page, unsigned char *ret, struct tm_error *error)
{
	uint64_t size = tm_page_size();
	void *memory = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, (off_t)(page * size));

	if (memory == MAP_FAILED)
		return tm_fail(error, TM_SYSTEM, "map page %llu", (unsigned long long)page);
	memcpy(ret, memory, size);
	munmap(memory, size);
	return TM_OK;
}

int tm_file_hash(int fd, uint64_t bytes, unsigned char *ret, struct tm_error *error)
{
	TM_CLEANUP(tm_free) unsigned char *data = malloc(BUFFER_BYTES);
	XXH3_state_t *state = XXH3_createState();
	int code = data && state ? TM_OK : tm_fail(error, TM_MEMORY, "allocate a hash state");

	if (code == TM_OK)
		XXH3_128bits_reset(state);
	for (uint64_t done = 0; code == TM_OK && done < bytes;) {
		uint64_t piece = bytes - done < BUFFER_BYTES ? bytes - done : BUFFER_BYTES;

		code = tm_pread_all(fd, data, piece, done, error);
		if (code == TM_OK)
			XXH3_128bits_update(state, data, piece);
		done += piece;
	}
	if (code == TM_OK)
		put_hash(XXH3_128bits_digest(state), ret);
	XXH3_freeState(state);
	return code;
}

/* One side of a comparison of hashes: its selected pages in order. */
struct hash_cursor {
	const struct tm_bitmap *which;
	const unsigned char *hashes;
	struct tm_run run;
	bool valid;
};

static void cursor_init(struct hash_cursor *cursor, const struct tm_bitmap *which,
			const unsigned char *hashes)
{
	cursor->which = which;
	cursor->hashes = hashes;
	cursor->valid = tm_bitmap_next(which, 0, &cursor->run);
}

static void cursor_advance(struct hash_cursor *cursor)
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
	struct hash_cursor a, b;

	cursor_init(&a, which, hashes);
	cursor_init(&b, other, other_hashes);
	while (a.valid || b.valid) {
		bool in_a = a.valid && (!b.valid || a.run.first <= b.run.first);
		bool in_b = b.valid && (!a.valid || b.run.first <= a.run.first);
		uint64_t page = in_a ? a.run.first : b.run.first;

		if (!(in_a && in_b && memcmp(a.hashes, b.hashes, TM_HASH_BYTES) == 0) &&
		    mark(differs, page, error) != TM_OK)
			return error->code;
		if (in_a)
			cursor_advance(&a);
		if (in_b)
			cursor_advance(&b);
	}
	return TM_OK;
}
