/* Ways to write a file that leave few traces: kernel AIO, sockets, other mounts, times set back. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/aio_abi.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "actor.h"

enum { CONTEXT_ROOM = 4 };

static aio_context_t kept_context;

static long submit(aio_context_t context, const long *a)
{
	struct iocb block = {
		.aio_lio_opcode = (uint16_t)(a[0] ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD),
		.aio_fildes = (uint32_t)a[1],
		.aio_buf = (uint64_t)a[2],
		.aio_nbytes = (uint64_t)a[3],
		.aio_offset = a[4],
	};
	struct iocb *blocks = &block;

	return syscall(SYS_io_submit, context, 1, &blocks) < 0 ? -errno : 0;
}

static long await(aio_context_t context)
{
	struct io_event event;

	while (syscall(SYS_io_getevents, context, 1, 1, &event, NULL) < 0)
		if (errno != EINTR)
			return -errno;
	return (long)event.res;
}

/* aio WRITES FD ADDRESS BYTES OFFSET: one request, by a context made for it and destroyed. */
static long aio_once(struct request *request)
{
	aio_context_t context = 0;
	long result;

	if (syscall(SYS_io_setup, CONTEXT_ROOM, &context) < 0)
		return -errno;
	result = submit(context, request->numbers + 1);
	if (result == 0)
		result = await(context);
	syscall(SYS_io_destroy, context);
	return result;
}

/* aio_begin WRITES FD ADDRESS BYTES OFFSET: a request that stays under way. */
static long aio_begin(struct request *request)
{
	long result;

	if (syscall(SYS_io_setup, CONTEXT_ROOM, &kept_context) < 0)
		return -errno;
	result = submit(kept_context, request->numbers + 1);
	if (result < 0) {
		syscall(SYS_io_destroy, kept_context);
		kept_context = 0;
	}
	return result;
}

/* aio_end: waits for it, and destroys its context. */
static long aio_end(struct request *request)
{
	long result = await(kept_context);

	(void)request;
	syscall(SYS_io_destroy, kept_context);
	kept_context = 0;
	return result;
}

union control {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* give SOCKET FD: sends a descriptor. */
static long give(struct request *request)
{
	int descriptor = (int)request->numbers[2];
	char byte = 0;
	struct iovec piece = {&byte, 1};
	union control control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
					  .cmsg_level = SOL_SOCKET,
					  .cmsg_type = SCM_RIGHTS}};
	struct msghdr message = {.msg_iov = &piece,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};

	memcpy(CMSG_DATA(&control.head), &descriptor, sizeof(descriptor));
	return sendmsg((int)request->numbers[1], &message, MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* take SOCKET: receives a descriptor, which is the answer. */
static long take(struct request *request)
{
	int descriptor;
	char byte;
	struct iovec piece = {&byte, 1};
	union control control;
	struct msghdr message = {.msg_iov = &piece,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	ssize_t size = recvmsg((int)request->numbers[1], &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (size < 0)
		return -errno;
	if (size == 0 || message.msg_controllen < sizeof(struct cmsghdr))
		return -ENODATA;
	memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(descriptor));
	return descriptor;
}

/* An abstract name of a Unix socket. */
struct named {
	sa_family_t family;
	char name[108];
};

static socklen_t put_name(struct named *address, const char *name)
{
	size_t length = strlen(name);

	address->family = AF_UNIX;
	memcpy(address->name + 1, name, length);
	return (socklen_t)(sizeof(sa_family_t) + 1 + length);
}

/* listen_at NAME: a socket with an abstract name, to which others can connect. */
static long listen_at(struct request *request)
{
	struct named address = {0};
	socklen_t length = put_name(&address, request->words[1]);
	int made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (made < 0 || bind(made, (struct sockaddr *)&address, length) < 0 || listen(made, 4) < 0)
		return -errno;
	return made;
}

/* connect_to NAME: a connection, which nobody need accept. */
static long connect_to(struct request *request)
{
	struct named address = {0};
	socklen_t length = put_name(&address, request->words[1]);
	int made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (made < 0 || connect(made, (struct sockaddr *)&address, length) < 0)
		return -errno;
	return made;
}

/* detached_file NAME: a file of a tmpfs that is mounted nowhere. */
static long detached_file(struct request *request)
{
	int context = (int)syscall(SYS_fsopen, "tmpfs", 1), tree, made;

	if (context < 0 || syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	tree = (int)syscall(SYS_fsmount, context, 1, 0);
	if (tree < 0)
		return -errno;
	made = openat(tree, request->words[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	close(context);
	close(tree);
	return made < 0 ? -errno : made;
}

/* other_mount PATH FLAGS: opens a file by another mount of its directory, without access times. */
static long other_mount(struct request *request)
{
	char path[512], directory[512];
	struct mount_attr without = {.attr_set = MOUNT_ATTR_NOATIME, .attr_clr = MOUNT_ATTR__ATIME};
	int tree, made;

	snprintf(path, sizeof(path), "%s", request->words[1]);
	snprintf(directory, sizeof(directory), "%s", request->words[1]);
	tree = (int)syscall(SYS_open_tree, AT_FDCWD, dirname(directory), 1 | O_CLOEXEC);
	if (tree < 0 ||
	    syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &without, sizeof(without)) < 0)
		return -errno;
	made = openat(tree, basename(path), (int)request->numbers[2] | O_CLOEXEC);
	close(tree);
	return made < 0 ? -errno : made;
}

/* store_and_set_back FD OFFSET VALUE: stores by a brief mapping; the access time is as before. */
static long store_and_set_back(struct request *request)
{
	struct stat before;
	struct timespec times[2];
	int descriptor = (int)request->numbers[1];
	long size = sysconf(_SC_PAGESIZE), *word;

	if (fstat(descriptor, &before) < 0)
		return -errno;
	word = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor,
		    request->numbers[2]);
	if (word == MAP_FAILED)
		return -errno;
	*word = request->numbers[3];
	munmap(word, (size_t)size);
	times[0] = before.st_atim;
	times[1] = before.st_mtim;
	return futimens(descriptor, times) < 0 ? -errno : 0;
}

const struct verb file_verbs[] = {
	{"aio", aio_once},
	{"aio_begin", aio_begin},
	{"aio_end", aio_end},
	{"give", give},
	{"take", take},
	{"listen_at", listen_at},
	{"connect_to", connect_to},
	{"detached_file", detached_file},
	{"other_mount", other_mount},
	{"store_and_set_back", store_and_set_back},
	{0},
};
