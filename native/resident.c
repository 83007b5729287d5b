/*
 * Which pages an object holds, asked from within a process that maps it. mincore(2) looks
 * into the object, not only into the page table, so it also knows the pages that a process
 * wrote which has ended.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"

enum { PIECE_PAGES = 1 << 18 }; /* one byte each: what the target lends us for the answer */

struct lookup {
	struct tm_injection injection;
	const struct tm_view *view;
	struct tm_bitmap *resident;
	uint64_t scratch; /* PIECE_PAGES bytes in the target */
	unsigned char *answer;
};

static int mark_resident(struct lookup *lookup, uint64_t page, uint64_t count,
			 struct tm_error *error)
{
	for (uint64_t i = 0; i < count; i++) {
		uint64_t first = i;
		int code;

		while (i < count && lookup->answer[i] & 1)
			i++;
		code = tm_bitmap_set(lookup->resident, page + first, i - first);
		if (code != TM_OK)
			return tm_fail(error, code, "mark resident pages");
	}
	return TM_OK;
}

static int look_at(struct lookup *lookup, uint64_t done, uint64_t count, struct tm_error *error)
{
	uint64_t size = tm_page_size();
	const struct tm_call ask = {
		.number = SYS_mincore,
		.arguments = {lookup->view->start + done * size, count * size, lookup->scratch},
		.undo = {.number = SYS_munmap, .arguments = {lookup->scratch, PIECE_PAGES}}};
	struct iovec local = {.iov_base = lookup->answer, .iov_len = count};
	struct iovec remote = {.iov_base = (void *)(uintptr_t)lookup->scratch, .iov_len = count};
	int64_t result;
	int code = tm_injection_call(&lookup->injection, &ask, &result, error);

	if (code != TM_OK)
		return code;
	errno = (int)-result;
	if (result < 0)
		return tm_fail_on(error, lookup->injection.tid, "mincore in the target");
	if (process_vm_readv(lookup->injection.tid, &local, 1, &remote, 1, 0) != (ssize_t)count)
		return tm_fail_on(error, lookup->injection.tid, "read the answer of mincore");
	return mark_resident(lookup, lookup->view->page + done, count, error);
}

static int look_at_all(struct lookup *lookup, struct tm_error *error)
{
	uint64_t count = (lookup->view->end - lookup->view->start) / tm_page_size();
	const struct tm_call map = {
		.number = SYS_mmap,
		.arguments = {0, PIECE_PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			      (uint64_t)-1},
		.undo = {.number = SYS_munmap, .arguments = {0, PIECE_PAGES}, .of_result = true}};
	struct tm_call unmap = {
		.number = SYS_munmap, .arguments = {0, PIECE_PAGES}, .undo.number = -1};
	struct tm_error second;
	int64_t result;
	int code = tm_injection_call(&lookup->injection, &map, &result, error);

	if (code != TM_OK)
		return code;
	errno = (int)-result;
	if (result < 0 && result > -4096)
		return tm_fail_on(error, lookup->injection.tid, "mmap in the target");
	lookup->scratch = unmap.arguments[0] = (uint64_t)result;
	for (uint64_t done = 0; done < count && code == TM_OK; done += PIECE_PAGES)
		code = look_at(lookup, done,
			       count - done < PIECE_PAGES ? count - done : PIECE_PAGES, error);
	if (code != TM_OK) {
		/* The loan is returned in any case; the first failure is the one to report. */
		(void)tm_injection_call(&lookup->injection, &unmap, &result, &second);
		return code;
	}
	return tm_injection_call(&lookup->injection, &unmap, &result, error);
}

int tm_tracee_resident(struct tm_stopped thread, const struct tm_view *view,
		       struct tm_bitmap *resident, struct tm_error *error)
{
	struct lookup lookup = {.view = view, .resident = resident};
	int code;

	lookup.answer = malloc(PIECE_PAGES);
	if (!lookup.answer)
		return tm_fail(error, TM_MEMORY, "ask for resident pages");
	code = tm_injection_begin(&lookup.injection, thread, error);
	if (code == TM_OK) {
		code = look_at_all(&lookup, error);
		tm_injection_end(&lookup.injection);
	}
	free(lookup.answer);
	return code;
}
