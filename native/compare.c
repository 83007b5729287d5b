/*
 * Comparing pages where they are: those of an object in a mapping of our own, with others in files
 * that are mapped, too. Nothing is copied, so this is as quick as memory can be read.
 */
#define _GNU_SOURCE
#include <string.h>

#include "guard.h"
#include "internal.h"
#include "walk.h"

/* What is compared: a window of the live object, and a source whose files are mapped. */
struct comparison {
	const struct tm_window *live;
	const struct tm_source *source;
	const struct tm_window *files;
	size_t file_count;
};

static bool differs_from_zero(const unsigned char *page, uint64_t size)
{
	return page[0] != 0 || memcmp(page, page + 1, size - 1) != 0;
}

/* Where page `page` of an extent is mapped, NULL where it is not. */
static const unsigned char *mapped_at(const struct tm_window *files, size_t file_count,
				      const struct tm_extent *extent, uint64_t page)
{
	uint64_t size = tm_page_size();
	uint64_t offset = extent->offset + (page - extent->page) * size;

	if (extent->fd < 0 || (size_t)extent->fd >= file_count || offset % size ||
	    offset / size >= files[extent->fd].pages)
		return NULL;
	return files[extent->fd].memory + offset;
}

/*
 * Whether a page is not as its extent has it; what cannot be read is not the same. `at` is where to
 * look for the extent of this page, and then for that of a later one.
 */
static bool differs(const struct comparison *comparison, uint64_t page, size_t *at)
{
	const struct tm_source *source = comparison->source;
	uint64_t size = tm_page_size();
	const unsigned char *live = comparison->live->memory + page * size;
	const struct tm_extent *extent;
	const unsigned char *other;

	if (page >= comparison->live->pages)
		return true;
	while (*at < source->count &&
	       source->extents[*at].page + source->extents[*at].count <= page)
		++*at;
	extent = &source->extents[*at];
	if (*at == source->count || page < extent->page)
		return differs_from_zero(live, size);
	other = mapped_at(comparison->files, comparison->file_count, extent, page);
	return !other || memcmp(live, other, size) != 0;
}

static int compare_block(struct tm_block *block, void *context, struct tm_error *error)
{
	const struct comparison *comparison = context;
	sigjmp_buf jump;
	volatile uint64_t i = 0;
	size_t at;

	(void)error;
	/* A page that is not there any more, or that no disk gives, is not the same. */
	if (sigsetjmp(jump, 0) != 0)
		block->found |= UINT32_C(1) << i++;
	tm_rescue = &jump;
	at = i < block->count ? tm_extent_find(comparison->source, block->pages[i]) : 0;
	for (; i < block->count; i++)
		if (differs(comparison, block->pages[i], &at))
			block->found |= UINT32_C(1) << i;
	tm_rescue = NULL;
	return TM_OK;
}

int tm_window_compare(const struct tm_window *live, const struct tm_bitmap *which,
		      const struct tm_source *source, const struct tm_window *files,
		      size_t file_count, struct tm_bitmap *differing, struct tm_error *error)
{
	struct comparison comparison = {
		.live = live, .source = source, .files = files, .file_count = file_count};
	const struct tm_walk walk = {.source = source,
				     .in_place = true,
				     .which = which,
				     .found = differing,
				     .work = compare_block,
				     .context = &comparison};
	struct tm_guard guard;
	int code = tm_guard_begin(&guard, error);

	if (code != TM_OK)
		return code;
	code = tm_walk(&walk, error);
	tm_guard_end(&guard);
	return code;
}

static void touch_extents(const struct tm_source *source, const struct tm_window *files,
			  size_t file_count)
{
	for (size_t i = 0; i < source->count; i++) {
		const struct tm_extent *extent = &source->extents[i];

		for (uint64_t page = extent->page; page < extent->page + extent->count; page++) {
			const unsigned char *at = mapped_at(files, file_count, extent, page);

			if (at)
				(void)*(const volatile unsigned char *)at;
		}
	}
}

int tm_files_touch(const struct tm_source *source, const struct tm_window *files, size_t file_count,
		   struct tm_error *error)
{
	struct tm_guard guard;
	sigjmp_buf jump;
	int code = tm_guard_begin(&guard, error);

	if (code != TM_OK)
		return code;
	/* What cannot be read now will differ later: that is no failure. */
	if (sigsetjmp(jump, 0) == 0) {
		tm_rescue = &jump;
		touch_extents(source, files, file_count);
	}
	tm_rescue = NULL;
	tm_guard_end(&guard);
	return TM_OK;
}
