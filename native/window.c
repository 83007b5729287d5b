/*
 * A mapping of our own of an object, from which pages are copied without a system call for each.
 *
 * Whoever can write the object can also cut it off, and then a load is SIGBUS: it is caught, and
 * reported as an error.
 */
#define _GNU_SOURCE
#include <string.h>

#include "guard.h"
#include "internal.h"

struct visit {
	const struct tm_window *window;
	const struct tm_bitmap *which;
	unsigned char *out; /* NULL: the pages are only touched */
};

static void visit_run(struct visit *visit, struct tm_run run)
{
	uint64_t size = tm_page_size();
	const unsigned char *from = visit->window->memory + run.first * size;

	if (visit->out) {
		memcpy(visit->out, from, run.count * size);
		visit->out += run.count * size;
		return;
	}
	for (uint64_t i = 0; i < run.count; i++)
		(void)*(const volatile unsigned char *)(from + i * size);
}

/* False where the object ends before, as far as the mapping knows. */
static bool visit_all(struct visit *visit)
{
	struct tm_run run = {0};

	while (tm_bitmap_next(visit->which, run.first + run.count, &run)) {
		if (run.first + run.count > visit->window->pages)
			return false;
		visit_run(visit, run);
	}
	return true;
}

static bool visit_guarded(struct visit *visit)
{
	sigjmp_buf jump;
	bool whole;

	if (sigsetjmp(jump, 0) != 0) {
		tm_rescue = NULL;
		return false;
	}
	tm_rescue = &jump;
	whole = visit_all(visit);
	tm_rescue = NULL;
	return whole;
}

static int guarded(struct visit *visit, struct tm_error *error)
{
	struct tm_guard guard;
	int code = tm_guard_begin(&guard, error);
	bool whole;

	if (code != TM_OK)
		return code;
	whole = visit_guarded(visit);
	tm_guard_end(&guard);
	return whole ? TM_OK : tm_fail(error, TM_SHORT, "read an object that is shorter by now");
}

int tm_window_copy(const struct tm_window *window, const struct tm_bitmap *which,
		   unsigned char *out, struct tm_error *error)
{
	struct visit visit = {.window = window, .which = which, .out = out};

	return guarded(&visit, error);
}

int tm_window_touch(const struct tm_window *window, const struct tm_bitmap *which,
		    struct tm_error *error)
{
	struct visit visit = {.window = window, .which = which};

	return guarded(&visit, error);
}
