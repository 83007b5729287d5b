/* A file that is read slowly and directly: the kernel pins the reader's pages long before data
 * come. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "actor.h"

enum { WORKERS = 8, MESSAGE_BYTES = 2 << 20, FILE_BYTES = 64 << 20 };

/* The server of a file system (FUSE) with one file, "data", no two reads of which give the same. */
static struct {
	int device;
	useconds_t delay;
	unsigned long turn; /* reads that have begun */
} slow;

static void reply(const struct fuse_in_header *to, int error, void *body, size_t size)
{
	struct fuse_out_header head = {
		.len = (unsigned)(sizeof(head) + (error ? 0 : size)),
		.error = -error,
		.unique = to->unique,
	};
	struct iovec pieces[2] = {{&head, sizeof(head)}, {body, size}};

	if (writev(slow.device, pieces, error ? 1 : 2) < 0)
		return; /* the reader was interrupted */
}

static struct fuse_attr attributes(unsigned long node)
{
	return (struct fuse_attr){
		.ino = node,
		.nlink = 1,
		.blksize = 4096,
		.mode = node == 1 ? S_IFDIR | 0755 : S_IFREG | 0644,
		.size = node == 1 ? 0 : FILE_BYTES,
	};
}

static void reply_init(const struct fuse_in_header *head, const struct fuse_init_in *in)
{
	struct fuse_init_out out = {
		.major = 7,
		.minor = 31,
		.max_write = 1 << 20,
		.max_pages = 256,
		.max_background = 64,
	};

	out.flags = in->flags & (FUSE_ASYNC_READ | FUSE_ASYNC_DIO | FUSE_MAX_PAGES);
	reply(head, 0, &out, sizeof(out));
}

/* Answers after a delay, with what no read gave before. */
static void reply_read(const struct fuse_in_header *head, const struct fuse_read_in *in)
{
	unsigned long now = __atomic_add_fetch(&slow.turn, 1, __ATOMIC_SEQ_CST);
	unsigned long *data = malloc(in->size);

	for (size_t i = 0; i < in->size / sizeof(*data); i++)
		data[i] = (now + 1) << 40 | (in->offset / sizeof(*data) + i);
	usleep(slow.delay);
	reply(head, 0, data, in->size);
	free(data);
}

static void serve_file(struct fuse_in_header *head, void *body)
{
	struct fuse_entry_out entry = {
		.nodeid = 2,
		.attr_valid = 1000,
		.entry_valid = 1000,
		.attr = attributes(2),
	};
	struct fuse_attr_out attr = {.attr_valid = 1000, .attr = attributes(head->nodeid)};
	struct fuse_open_out opened = {.fh = 1, .open_flags = FOPEN_DIRECT_IO};

	switch (head->opcode) {
	case FUSE_INIT:
		return reply_init(head, body);
	case FUSE_LOOKUP:
		return reply(head, strcmp(body, "data") ? ENOENT : 0, &entry, sizeof(entry));
	case FUSE_GETATTR:
		return reply(head, 0, &attr, sizeof(attr));
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		return reply(head, 0, &opened, sizeof(opened));
	case FUSE_READ:
		return reply_read(head, body);
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FLUSH:
		return reply(head, 0, NULL, 0);
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return;
	default:
		return reply(head, ENOSYS, NULL, 0);
	}
}

static void *work(void *unused)
{
	char *message = malloc(MESSAGE_BYTES);

	(void)unused;
	for (;;) {
		ssize_t size = read(slow.device, message, MESSAGE_BYTES);

		if (size < 0 && errno == ENODEV)
			return NULL;
		if (size > 0)
			serve_file((void *)message, message + sizeof(struct fuse_in_header));
	}
}

/*
 * slow_file PATH MICROSECONDS: serves PATH/data, each read of which takes so long. The mount is in
 * a namespace of this process, and ends with it: others reach it by /proc/PID/root.
 */
static long slow_file(struct request *request)
{
	char options[96];
	pthread_t thread;

	slow.delay = (useconds_t)request->numbers[2];
	slow.device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (slow.device < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0",
		 slow.device);
	if (mount("slow", request->words[1], "fuse", MS_NOSUID | MS_NODEV, options) < 0)
		return -errno;
	for (int i = 0; i < WORKERS; i++)
		if ((errno = pthread_create(&thread, NULL, work, NULL)))
			return -errno;
	return 0;
}

/* slow_reads: how many reads have begun. */
static long slow_reads(struct request *request)
{
	(void)request;
	return (long)__atomic_load_n(&slow.turn, __ATOMIC_SEQ_CST);
}

/*
 * read_directly FD ADDRESS BYTES PLACES COUNT: reads COUNT times, in turn to PLACES runs of so many
 * bytes; the answer is how many reads were done, or the error of the first.
 */
static long read_directly(struct request *request)
{
	const long *a = request->numbers + 1;

	for (long i = 0; i < a[4]; i++) {
		char *to = (char *)a[1] + i % a[3] * a[2];

		if (pread((int)a[0], to, (size_t)a[2], i % 16 * a[2]) < 0)
			return i ? i : -errno;
	}
	return a[4];
}

const struct verb direct_verbs[] = {
	{"slow_file", slow_file},
	{"slow_reads", slow_reads},
	{"read_directly", read_directly},
	{0},
};
