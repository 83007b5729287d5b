/*
 * A userfaultfd of another process: made by a system call of its own, held by us alone. So
 * when we go the target runs on untouched: Documentation/admin-guide/mm/userfaultfd.rst.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
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

static const uint64_t basic_features =
	UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;

/*
 * REMAP: mremap(2) can show the pages of a mapping a second time, and that mapping may be gone
 * when we look. UNMAP: a mapping that mremap(2) made longer where it stood, of which nobody is
 * told, may be as short again. REMOVE: a page that was given back and only read since is zero,
 * but still has its protection.
 */
static const uint64_t notice_features =
	UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMOVE;

static int enable(int uffd, uint64_t features, struct tm_error *error)
{
	struct uffdio_api api = {.api = UFFD_API, .features = basic_features | features};

	if (ioctl(uffd, UFFDIO_API, &api) == 0)
		return TM_OK;
	if (errno == EINVAL)
		return tm_fail(error, TM_UNSUPPORTED,
			       "the kernel has no %swrite-protection of shared memory",
			       features & UFFD_FEATURE_WP_ASYNC ? "asynchronous " : "");
	return tm_fail(error, TM_SYSTEM, "UFFDIO_API");
}

/* Whether a process has memory still: the kernel says ENOMEM of one that has none, too. */
static bool has_memory(int tid)
{
	TM_CLEANUP(tm_close) int fd = -1;
	struct tm_error ignored;
	char text[16] = "";
	int before = errno;
	bool found = tm_open_proc(tid, "statm", O_RDONLY, &fd, &ignored) == TM_OK &&
		     read(fd, text, sizeof(text) - 1) > 0 && text[0] != '0';

	errno = before;
	return found;
}

int tm_uffd_cover(struct tm_space *space, struct tm_span span, struct tm_error *error)
{
	struct uffdio_register request = {
		.range = {.start = span.start, .len = span.end - span.start},
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	if (ioctl(space->uffd, UFFDIO_REGISTER, &request) == 0)
		return TM_OK;
	if (errno == EBUSY)
		tm_fail(error, TM_TRACED, "UFFDIO_REGISTER: another userfaultfd holds it");
	else if (errno == EINVAL) /* System V segments, before Linux 6.7 */
		tm_fail(error, TM_UNSUPPORTED,
			"UFFDIO_REGISTER: the kernel cannot watch memory of this kind");
	else if (errno == ENOMEM && !has_memory(space->thread.tid))
		tm_fail(error, TM_GONE, "UFFDIO_REGISTER: its memory is being taken down");
	else
		tm_fail_on(error, space->thread.tid, "UFFDIO_REGISTER");
	error->pid = space->thread.tid;
	error->address = span.start;
	return error->code;
}

int tm_uffd_notice(struct tm_space *space, struct tm_notice *ret, struct tm_error *error)
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
	if (message.event == UFFD_EVENT_REMOVE || message.event == UFFD_EVENT_UNMAP)
		*ret = (struct tm_notice){.kind = message.event == UFFD_EVENT_REMOVE
							  ? TM_NOTICE_GIVEN
							  : TM_NOTICE_UNMAPPED,
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
	if (errno == EMFILE) /* it is compared by content until there is room */
		return tm_fail(error, TM_UNSUPPORTED,
			       "process %d has no descriptor left for a userfaultfd",
			       space->thread.pid);
	return tm_fail_on(error, space->thread.tid, "userfaultfd in the target");
}

/* Where several targets are made to create a userfaultfd each. */
struct creation {
	struct tm_injection *injections;
	struct tm_call *calls;
};

static void creation_deinit(struct creation *creation)
{
	free(creation->injections);
	free(creation->calls);
}

static void creation_begin(struct creation *creation, struct tm_opening *opening, size_t i)
{
	struct tm_injection *injection = &creation->injections[i];

	if (opening->code == TM_OK)
		opening->code =
			tm_injection_begin(injection, opening->space->thread, &opening->error);
	injection->code = opening->code;
	creation->calls[i] = (struct tm_call){.number = SYS_userfaultfd,
					      .arguments = {uffd_flags},
					      .undo = {.number = SYS_close, .of_result = true}};
}

/* Takes over what a target has created; its next call leaves none behind. */
static void creation_take(struct creation *creation, struct tm_opening *opening, size_t i)
{
	struct tm_injection *injection = &creation->injections[i];
	int64_t remote = injection->result;

	if (injection->code != TM_OK)
		return;
	if (remote < 0) {
		injection->code = refused(opening->space, remote, &injection->error);
		return;
	}
	opening->code = take_descriptor(opening->space, (int)remote, &opening->space->uffd,
					&opening->error);
	creation->calls[i] = (struct tm_call){
		.number = SYS_close, .arguments = {(uint64_t)remote}, .undo.number = -1};
}

static void creation_end(struct creation *creation, struct tm_opening *opening, size_t i)
{
	const struct tm_injection *injection = &creation->injections[i];

	/* The first failure is the one to report. */
	if (opening->code == TM_OK && injection->code != TM_OK) {
		opening->code = injection->code;
		opening->error = injection->error;
	}
	if (opening->code == TM_OK)
		opening->code = enable(opening->space->uffd,
				       opening->space->tracker->features | notice_features,
				       &opening->error);
}

void tm_uffd_open_all(struct tm_opening *openings, size_t count)
{
	TM_CLEANUP(creation_deinit)
	struct creation creation = {.injections = calloc(count, sizeof(*creation.injections)),
				    .calls = calloc(count, sizeof(*creation.calls))};

	if (!creation.injections || !creation.calls) {
		for (size_t i = 0; i < count; i++)
			openings[i].code =
				tm_fail(&openings[i].error, TM_MEMORY, "open address spaces");
		return;
	}
	for (size_t i = 0; i < count; i++)
		creation_begin(&creation, &openings[i], i);
	tm_injections_call(creation.injections, count, creation.calls);
	for (size_t i = 0; i < count; i++)
		creation_take(&creation, &openings[i], i);
	tm_injections_call(creation.injections, count, creation.calls);
	tm_injections_end(creation.injections, count);
	for (size_t i = 0; i < count; i++)
		creation_end(&creation, &openings[i], i);
}

int tm_uffd_open_own(struct tm_space *space, uint64_t features, struct tm_error *error)
{
	space->uffd = (int)syscall(SYS_userfaultfd, uffd_flags);
	if (space->uffd < 0)
		return refused(space, -errno, error);
	return enable(space->uffd, features, error);
}
