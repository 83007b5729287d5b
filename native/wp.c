/*
 * The uffd-wp tracker: userfaultfd write-protection in asynchronous mode (Linux 6.7).
 *
 * The kernel itself resolves a write to a protected page by taking the protection away;
 * PAGEMAP_SCAN reports what has none, as PAGE_IS_WRITTEN. The userfaultfd belongs to the
 * target's address space but only we hold a descriptor of it, so when we go the target
 * runs on untouched: Documentation/admin-guide/mm/userfaultfd.rst, pagemap.rst.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"
#include "uapi.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/*
 * USER_MODE_ONLY needs no privilege. It does not narrow what is seen: in asynchronous mode
 * the kernel's own writes (read(2) into the page) are resolved without user space.
 */
static const uint64_t uffd_flags = O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY;

static const uint64_t tracking_features =
	UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_ASYNC;

/*
 * REMAP: mremap(2) can show the pages of a mapping a second time, and that mapping may be gone
 * when we look. REMOVE: a page that was given back and only read since is zero, but still has
 * its protection.
 */
static const uint64_t notice_features = UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE;

static int enable(int uffd, uint64_t features, struct tm_error *error)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};

	if (ioctl(uffd, UFFDIO_API, &api) == 0)
		return TM_OK;
	if (errno == EINVAL)
		return tm_fail(error, TM_UNSUPPORTED,
			       "the kernel has no asynchronous write-protection of shared memory");
	return tm_fail(error, TM_SYSTEM, "UFFDIO_API");
}

static int cover(struct tm_space *space, struct tm_span span, struct tm_error *error)
{
	struct uffdio_register request = {
		.range = {.start = span.start, .len = span.end - span.start},
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	if (ioctl(space->uffd, UFFDIO_REGISTER, &request) == 0)
		return TM_OK;
	if (errno == EBUSY)
		tm_fail(error, TM_TRACED, "UFFDIO_REGISTER: another userfaultfd holds it");
	else
		tm_fail_on(error, space->thread.tid, "UFFDIO_REGISTER");
	error->pid = space->thread.tid;
	error->address = span.start;
	return error->code;
}

static int protect(int pagemap, struct tm_span span, struct tm_error *error)
{
	struct tm_page_query query = {
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.mask = PAGE_IS_WRITTEN,
	};
	struct tm_view view = {.start = span.start, .end = span.end};

	return tm_pagemap_scan(pagemap, &view, query, NULL, error);
}

static int arm(struct tm_space *space, const struct tm_span *spans, size_t count,
	       struct tm_error *error)
{
	for (size_t i = 0; i < count; i++) {
		int code = protect(space->pagemap, spans[i], error);

		if (code != TM_OK)
			return code;
	}
	return TM_OK;
}

/* Nothing is ever unsure: what has no protection, an empty entry included, counts as written. */
static int scan(struct tm_space *space, const struct tm_view *view, bool rearm,
		struct tm_bitmap *written, struct tm_bitmap *unsure, struct tm_error *error)
{
	struct tm_page_query query = {
		.flags = PM_SCAN_CHECK_WPASYNC | (rearm ? PM_SCAN_WP_MATCHING : 0),
		.mask = PAGE_IS_WRITTEN,
	};

	(void)unsure;
	return tm_pagemap_scan(space->pagemap, view, query, written, error);
}

static int notice(struct tm_space *space, struct tm_notice *ret, struct tm_error *error)
{
	struct uffd_msg message;
	ssize_t size;

	do /* a signal that is pending ends even a read that does not wait */
		size = read(space->uffd, &message, sizeof(message));
	while (size < 0 && errno == EINTR);
	if (size < 0 && errno == EAGAIN)
		return TM_OK;
	if (size != sizeof(message))
		return tm_fail_on(error, space->thread.tid, "read from the userfaultfd");
	if (message.event == UFFD_EVENT_REMAP)
		*ret = (struct tm_notice){.kind = TM_NOTICE_MOVED, .start = message.arg.remap.from};
	if (message.event == UFFD_EVENT_REMOVE)
		*ret = (struct tm_notice){.kind = TM_NOTICE_GIVEN,
					  .start = message.arg.remove.start,
					  .end = message.arg.remove.end};
	return TM_OK;
}

/* Takes over a descriptor that stands in the target: pidfd_getfd(2). */
static int take_descriptor(const struct tm_space *space, int remote, int *ret,
			   struct tm_error *error)
{
	/* A process whose first thread has ended is reached through another (Linux 6.9). */
	TM_CLEANUP(tm_close)
	int pidfd = (int)syscall(SYS_pidfd_open, space->thread.tid, PIDFD_THREAD);

	if (pidfd < 0 && errno == EINVAL)
		pidfd = (int)syscall(SYS_pidfd_open, space->thread.pid, 0);
	if (pidfd < 0)
		return tm_fail_on(error, space->thread.tid, "pidfd_open");
	*ret = (int)syscall(SYS_pidfd_getfd, pidfd, remote, 0);
	return *ret < 0 ? tm_fail_on(error, space->thread.tid, "pidfd_getfd") : TM_OK;
}

/* What a system call in the target answered, as an error of ours. */
static int refused(const struct tm_space *space, int64_t result, struct tm_error *error)
{
	errno = (int)-result;
	if (errno == ENOSYS)
		return tm_fail(error, TM_UNSUPPORTED, "the kernel has no userfaultfd");
	return tm_fail_on(error, space->thread.tid, "userfaultfd in the target");
}

/* Makes the target create a userfaultfd, takes it over, and leaves none behind. */
static int create_in_target(struct tm_space *space, struct tm_injection *injection,
			    struct tm_error *error)
{
	const struct tm_call create = {.number = SYS_userfaultfd,
				       .arguments = {uffd_flags},
				       .undo = {.number = SYS_close, .of_result = true}};
	struct tm_call close_it = {.number = SYS_close, .undo.number = -1};
	struct tm_error second;
	int64_t remote, result;
	int code = tm_injection_call(injection, &create, &remote, error);

	if (code != TM_OK)
		return code;
	if (remote < 0)
		return refused(space, remote, error);
	close_it.arguments[0] = (uint64_t)remote;
	code = take_descriptor(space, (int)remote, &space->uffd, error);
	if (code != TM_OK) {
		/* It must not stay there; the first failure is the one to report. */
		(void)tm_injection_call(injection, &close_it, &result, &second);
		return code;
	}
	return tm_injection_call(injection, &close_it, &result, error);
}

static int open_space(struct tm_space *space, struct tm_error *error)
{
	struct tm_injection injection;
	int code = tm_injection_begin(&injection, space->thread, error);

	if (code != TM_OK)
		return code;
	code = create_in_target(space, &injection, error);
	tm_injection_end(&injection);
	return code == TM_OK ? enable(space->uffd, tracking_features | notice_features, error)
			     : code;
}

/* The probe's own space: three pages of a memory file, in this process. */
struct trial {
	struct tm_space space;
	unsigned char *memory;
	struct tm_view view;
};

enum { TRIAL_PAGES = 3 };

static void trial_deinit(struct trial *trial)
{
	tm_close(&trial->space.uffd);
	tm_close(&trial->space.pagemap);
	if (trial->memory != MAP_FAILED)
		munmap(trial->memory, TRIAL_PAGES * tm_page_size());
}

static int trial_init(struct trial *trial, struct tm_error *error)
{
	size_t size = TRIAL_PAGES * tm_page_size();
	int code;

	*trial = (struct trial){.space = {.thread.tid = getpid(), .pagemap = -1, .uffd = -1}};
	trial->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (trial->memory == MAP_FAILED)
		return tm_fail(error, TM_SYSTEM, "map memory to try write-protection on");
	trial->view.start = (uintptr_t)trial->memory;
	trial->view.end = trial->view.start + size;
	trial->space.uffd = (int)syscall(SYS_userfaultfd, uffd_flags);
	if (trial->space.uffd < 0)
		return refused(&trial->space, -errno, error);
	code = tm_open_proc(getpid(), "pagemap", O_RDONLY, &trial->space.pagemap, error);
	/* Without notices: nobody would read them while this thread waits. */
	return code == TM_OK ? enable(trial->space.uffd, tracking_features, error) : code;
}

/* Stores to page 0, stores to page 1 and drops its entry, and leaves page 2 alone. */
static int trial_run(struct trial *trial, struct tm_bitmap *written, struct tm_error *error)
{
	struct tm_span span = {.start = trial->view.start, .end = trial->view.end};
	size_t size = tm_page_size();
	int code;

	for (size_t page = 0; page < TRIAL_PAGES; page++)
		trial->memory[page * size] = 1;
	code = cover(&trial->space, span, error);
	if (code == TM_OK)
		code = arm(&trial->space, &span, 1, error);
	if (code != TM_OK)
		return code;
	trial->memory[0] = 2;
	trial->memory[size] = 2;
	madvise(trial->memory + size, size, MADV_DONTNEED);
	return scan(&trial->space, &trial->view, false, written, NULL, error);
}

static int probe(struct tm_error *error)
{
	TM_CLEANUP(trial_deinit) struct trial trial;
	struct tm_bitmap *written = tm_bitmap_create(TRIAL_PAGES);
	int code = trial_init(&trial, error);

	if (!written)
		return tm_fail(error, TM_MEMORY, "try write-protection");
	if (code == TM_OK)
		code = trial_run(&trial, written, error);
	/* Some kernels lose a written page whose entry vanished: then we must not trust them. */
	if (code == TM_OK && (!tm_bitmap_test(written, 0) || !tm_bitmap_test(written, 1) ||
			      tm_bitmap_test(written, 2)))
		code = tm_fail(error, TM_UNSUPPORTED, "write-protection reported the wrong pages");
	tm_bitmap_destroy(written);
	return code;
}

const struct tm_tracker tm_uffd_wp = {
	.name = "uffd-wp",
	.probe = probe,
	.open = open_space,
	.cover = cover,
	.arm = arm,
	.scan = scan,
	.notice = notice,
};
