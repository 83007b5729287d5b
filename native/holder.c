/*
 * A holder: the process that stands in a restored tree for one that was dumped, and maps
 * what that one mapped, where that one mapped it.
 *
 * It is linked statically and at a fixed low address and gives up its vDSO, so that next to
 * nothing stands where the other's mappings belong. It does what it is told on its socket
 * and ends when that closes: see holder.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "holder.h"

enum { SOCKET = 0 };

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* The vDSO lies wherever there was room; nothing here asks for the time, so it can go. */
static void drop_vdso(void)
{
	unsigned long starts[8], ends[8];
	char line[256];
	int count = 0;
	FILE *maps = fopen("/proc/self/maps", "re");

	while (maps && count < 8 && fgets(line, sizeof(line), maps))
		if ((strstr(line, "[vdso]") || strstr(line, "[vvar")) &&
		    sscanf(line, "%lx-%lx", &starts[count], &ends[count]) == 2)
			count++;
	if (maps)
		fclose(maps);
	for (int i = 0; i < count; i++)
		munmap((void *)starts[i], ends[i] - starts[i]);
}

static int64_t create(const struct tm_holder_request *request, uint64_t *ret)
{
	int fd = memfd_create("tidemark-restored", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)request->length) < 0)
		return errno;
	*ret = (uint64_t)fd;
	return 0;
}

static int64_t open_peer(const struct tm_holder_request *request, uint64_t *ret)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", request->peer, request->number);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno;
	*ret = (uint64_t)fd;
	return 0;
}

static int64_t map(const struct tm_holder_request *request)
{
	void *wanted = (void *)request->address;
	void *got = mmap(wanted, request->length, (int)request->protection,
			 MAP_SHARED | MAP_FIXED_NOREPLACE, request->number, (off_t)request->offset);

	if (got == MAP_FAILED)
		return errno;
	if (got != wanted) { /* a kernel before 4.17 takes the address for a hint */
		munmap(got, request->length);
		return EEXIST;
	}
	return 0;
}

static int64_t save(const struct tm_holder_request *request, int out)
{
	for (uint64_t done = 0; done < request->length;) {
		ssize_t put = pwrite(out, (char *)request->address + done, request->length - done,
				     (off_t)(request->offset + done));

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put < 0 ? errno : EIO;
		done += (uint64_t)put;
	}
	return 0;
}

static int64_t handle(const struct tm_holder_request *request, int beside, uint64_t *ret)
{
	volatile uint64_t *word = (volatile uint64_t *)request->address;

	switch (request->operation) {
	case TM_HOLDER_CREATE:
		return create(request, ret);
	case TM_HOLDER_OPEN:
		return open_peer(request, ret);
	case TM_HOLDER_MAP:
		return map(request);
	case TM_HOLDER_SAVE:
		return save(request, beside);
	case TM_HOLDER_STORE:
		*word = request->value;
		return 0;
	case TM_HOLDER_LOAD:
		*ret = *word;
		return 0;
	case TM_HOLDER_GIVE:
		return 0;
	default:
		return EINVAL;
	}
}

union control {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(int))];
};

/* The next request and the descriptor beside it, -1 for none; false at the end. */
static bool receive(struct tm_holder_request *ret, int *beside)
{
	union control control;
	struct iovec part = {.iov_base = ret, .iov_len = sizeof(*ret)};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	const struct cmsghdr *header;
	ssize_t size;

	*beside = -1;
	do
		size = recvmsg(SOCKET, &message, MSG_CMSG_CLOEXEC);
	while (size < 0 && errno == EINTR);
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(beside, CMSG_DATA(header), sizeof(*beside));
	return size == sizeof(*ret);
}

static bool answer(const struct tm_holder_answer *answer, int beside)
{
	union control control = {0};
	struct iovec part = {.iov_base = (void *)answer, .iov_len = sizeof(*answer)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (beside >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &beside, sizeof(beside));
	}
	return sendmsg(SOCKET, &message, MSG_NOSIGNAL) == sizeof(*answer);
}

int main(void)
{
	struct tm_holder_request request;
	int beside;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	drop_vdso();
	while (receive(&request, &beside)) {
		struct tm_holder_answer result = {0};
		bool gives = request.operation == TM_HOLDER_GIVE;

		result.error = handle(&request, beside, &result.value);
		if (beside >= 0)
			close(beside);
		if (!answer(&result, gives ? request.number : -1))
			break;
	}
	return 0;
}
