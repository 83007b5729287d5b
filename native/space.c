/* An address space under a tracker: the interface behind which the trackers stand. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "pool.h"

static const struct tm_tracker *const trackers[] = {&tm_uffd_wp, &tm_soft_dirty};

static const struct tm_tracker *find_tracker(const char *name, struct tm_error *error)
{
	for (size_t i = 0; i < sizeof(trackers) / sizeof(trackers[0]); i++)
		if (strcmp(trackers[i]->name, name) == 0)
			return trackers[i];
	tm_fail(error, TM_UNSUPPORTED, "no tracker is called %s", name);
	return NULL;
}

int tm_tracker_probe(const char *tracker, struct tm_error *error)
{
	const struct tm_tracker *found = find_tracker(tracker, error);

	return found ? found->probe(error) : error->code;
}

/* Makes a space that has all but a userfaultfd. */
static int prepare(const char *tracker, struct tm_opening *opening)
{
	const struct tm_tracker *found = find_tracker(tracker, &opening->error);

	if (!found)
		return opening->error.code;
	opening->space = malloc(sizeof(*opening->space));
	if (!opening->space)
		return tm_fail(&opening->error, TM_MEMORY, "open an address space");
	*opening->space = (struct tm_space){
		.tracker = found, .thread = opening->thread, .pagemap = -1, .uffd = -1};
	return tm_open_proc(opening->thread.tid, "pagemap", O_RDONLY, &opening->space->pagemap,
			    &opening->error);
}

void tm_space_open_all(const char *tracker, struct tm_opening *openings, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		openings[i].space = NULL;
		openings[i].code = prepare(tracker, &openings[i]);
	}
	tm_uffd_open_all(openings, count);
	for (size_t i = 0; i < count; i++) {
		if (openings[i].code == TM_OK)
			continue;
		tm_space_close(openings[i].space);
		openings[i].space = NULL;
	}
}

int tm_space_open(const char *tracker, struct tm_stopped thread, struct tm_space **ret,
		  struct tm_error *error)
{
	struct tm_opening opening = {.thread = thread};

	tm_space_open_all(tracker, &opening, 1);
	if (opening.code == TM_OK)
		*ret = opening.space;
	else
		*error = opening.error;
	return opening.code;
}

void tm_space_close(struct tm_space *space)
{
	if (!space)
		return;
	/* The last descriptor of a userfaultfd unregisters everything: userfaultfd(2). */
	tm_close(&space->uffd);
	tm_close(&space->pagemap);
	free(space);
}

int tm_space_cover(struct tm_space *space, struct tm_span span, struct tm_error *error)
{
	return space->tracker->cover(space, span, error);
}

int tm_space_arm(struct tm_space *space, const struct tm_span *spans, size_t count,
		 struct tm_error *error)
{
	return space->tracker->arm(space, spans, count, error);
}

int tm_space_scan(struct tm_space *space, const struct tm_view *view, bool rearm,
		  struct tm_bitmap *written, struct tm_bitmap *unsure, struct tm_error *error)
{
	return space->tracker->scan(space, view, rearm, written, unsure, error);
}

static int scan_views(struct tm_scan *scan)
{
	for (size_t i = 0; i < scan->count; i++) {
		int code = tm_space_scan(scan->space, &scan->views[i], scan->rearm, scan->written,
					 scan->unsure, &scan->error);

		scan->changed[i] = code == TM_CHANGED;
		if (code != TM_OK && code != TM_CHANGED)
			return code;
	}
	return TM_OK;
}

/* Scans of which the threads each take the next. */
struct scans {
	struct tm_scan *scans;
	size_t count;
	atomic_size_t next;
};

static void scan_on(void *context)
{
	struct scans *left = context;
	size_t i;

	while ((i = atomic_fetch_add(&left->next, 1)) < left->count)
		left->scans[i].code = scan_views(&left->scans[i]);
}

void tm_scan_all(struct tm_pool *pool, struct tm_scan *scans, size_t count)
{
	struct scans left = {.scans = scans, .count = count};

	if (count < 2) /* nothing to share */
		scan_on(&left);
	else
		tm_pool_share(pool, scan_on, &left);
}

int tm_space_descriptor(const struct tm_space *space)
{
	return space->uffd;
}

int tm_space_notice(struct tm_space *space, struct tm_notice *ret, struct tm_error *error)
{
	*ret = (struct tm_notice){.kind = TM_NOTICE_NONE};
	return space->tracker->notice ? space->tracker->notice(space, ret, error) : TM_OK;
}
