/* Rings of io_uring(7) whose memory, buffers or files are the program's own. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "actor.h"

/* Of newer kernels than the headers may be. */
enum {
	NO_MMAP = 1 << 14,
	NO_SQARRAY = 1 << 16,
	READ_MULTISHOT = 49,
	REGISTER_PBUF_RING = 22,
	INCREMENTAL = 2,
	GROUP = 5,
	RING_BYTES = 1 << 16,
	ENTRIES = 4,
};

struct pbuf_registration {
	uint64_t address;
	uint32_t entries;
	uint16_t group, flags;
	uint64_t reserved[3];
};

struct pbuf_entry {
	uint64_t address;
	uint32_t length;
	uint16_t id, tail;
};

/* One ring; `head` and so on are the kernel's offsets. */
static struct {
	int fd;
	struct io_uring_params params;
	char *ring;
	struct io_uring_sqe *entries;
	int mapped;
	struct pbuf_entry *buffers;
	unsigned short provided;
} ring;

static unsigned *word(unsigned offset)
{
	return (unsigned *)(ring.ring + offset);
}

/*
 * ring ADDRESS: sets up a ring; at an address, with two pages of the program's memory there for
 * what the kernel writes (IORING_SETUP_NO_MMAP).
 */
static long ring_setup(struct request *request)
{
	char *memory = (char *)request->numbers[1];

	memset(&ring, 0, sizeof(ring));
	if (memory) {
		ring.params.flags = NO_MMAP;
		ring.params.sq_off.resv2 = (unsigned long)memory + 4096; /* the entries */
		ring.params.cq_off.resv2 = (unsigned long)memory;
	}
	ring.fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &ring.params);
	if (ring.fd < 0)
		return -errno;
	if (memory) {
		ring.ring = memory;
		ring.entries = (void *)(memory + 4096);
		return ring.fd;
	}
	ring.mapped = 1;
	ring.ring = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd,
			 IORING_OFF_SQ_RING);
	ring.entries =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQES);
	if (ring.ring == MAP_FAILED || ring.entries == MAP_FAILED)
		return -errno;
	madvise(ring.ring, RING_BYTES, MADV_DONTFORK);
	madvise(ring.entries, 4096, MADV_DONTFORK);
	return ring.fd;
}

/* Makes one request and, unless it is to stay under way, waits for its result. */
static long make(struct io_uring_sqe entry, int wait)
{
	unsigned tail = *word(ring.params.sq_off.tail);
	unsigned index = tail & *word(ring.params.sq_off.ring_mask);
	unsigned head = *word(ring.params.cq_off.head);
	struct io_uring_cqe *done = (void *)word(ring.params.cq_off.cqes);

	ring.entries[index] = entry;
	word(ring.params.sq_off.array)[index] = index;
	__atomic_store_n(word(ring.params.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	while (syscall(SYS_io_uring_enter, ring.fd, 1, wait, wait ? IORING_ENTER_GETEVENTS : 0,
		       NULL, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (!wait)
		return 0;
	__atomic_store_n(word(ring.params.cq_off.head), head + 1, __ATOMIC_RELEASE);
	return done[head & *word(ring.params.cq_off.ring_mask)].res;
}

/* ring_poll FD: has each arrival of something to read told (multishot). */
static long ring_poll(struct request *request)
{
	return make((struct io_uring_sqe){.opcode = IORING_OP_POLL_ADD,
					  .fd = (int)request->numbers[1],
					  .len = IORING_POLL_ADD_MULTI,
					  .poll32_events = POLLIN},
		    0);
}

/* ring_provide BUFFER BYTES: provides a buffer by a request. */
static long ring_provide(struct request *request)
{
	return make((struct io_uring_sqe){.opcode = IORING_OP_PROVIDE_BUFFERS,
					  .fd = 1,
					  .addr = (unsigned long)request->numbers[1],
					  .len = (unsigned)request->numbers[2],
					  .buf_group = GROUP},
		    1);
}

/*
 * ring_of_buffers ADDRESS BUFFER BYTES FLAGS: provides a buffer by a ring of them, which is a page
 * of the program's at ADDRESS.
 */
static long ring_of_buffers(struct request *request)
{
	const long *a = request->numbers + 1;
	struct pbuf_registration registration = {
		.address = (uint64_t)a[0], .entries = 8, .group = GROUP, .flags = (uint16_t)a[3]};

	memset((void *)a[0], 0, 128);
	if (syscall(SYS_io_uring_register, ring.fd, REGISTER_PBUF_RING, &registration, 1) < 0)
		return -errno;
	ring.buffers = (void *)a[0];
	ring.buffers[0] =
		(struct pbuf_entry){.address = (uint64_t)a[1], .length = (uint32_t)a[2], .id = 3};
	__atomic_store_n(&ring.buffers[0].tail, 1, __ATOMIC_RELEASE);
	return 0;
}

/* ring_select FD BYTES: reads into a buffer that was provided. */
static long ring_select(struct request *request)
{
	return make((struct io_uring_sqe){.opcode = IORING_OP_READ,
					  .flags = IOSQE_BUFFER_SELECT,
					  .fd = (int)request->numbers[1],
					  .off = (unsigned long long)-1,
					  .len = (unsigned)request->numbers[2],
					  .buf_group = GROUP},
		    1);
}

/* ring_multishot FD: has whatever comes there read into buffers that were provided. */
static long ring_multishot(struct request *request)
{
	return make((struct io_uring_sqe){.opcode = READ_MULTISHOT,
					  .flags = IOSQE_BUFFER_SELECT,
					  .fd = (int)request->numbers[1],
					  .off = (unsigned long long)-1,
					  .buf_group = GROUP},
		    0);
}

/* ring_reap: the result of what comes next; -EAGAIN where nothing has. */
static long ring_reap(struct request *request)
{
	unsigned head = *word(ring.params.cq_off.head);
	struct io_uring_cqe *done = (void *)word(ring.params.cq_off.cqes);

	(void)request;
	syscall(SYS_io_uring_enter, ring.fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
	if (head == __atomic_load_n(word(ring.params.cq_off.tail), __ATOMIC_ACQUIRE))
		return -EAGAIN;
	__atomic_store_n(word(ring.params.cq_off.head), head + 1, __ATOMIC_RELEASE);
	return done[head & *word(ring.params.cq_off.ring_mask)].res;
}

/* ring_file FD: registers a file, which then needs no descriptor. */
static long ring_file(struct request *request)
{
	int descriptor = (int)request->numbers[1];

	return syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, &descriptor, 1) < 0
		       ? -errno
		       : 0;
}

/* ring_write ADDRESS BYTES OFFSET: writes to that file. */
static long ring_write(struct request *request)
{
	return make((struct io_uring_sqe){.opcode = IORING_OP_WRITE,
					  .flags = IOSQE_FIXED_FILE,
					  .fd = 0,
					  .off = (unsigned long long)request->numbers[3],
					  .addr = (unsigned long)request->numbers[1],
					  .len = (unsigned)request->numbers[2]},
		    1);
}

/* ring_close: lets go of the ring, and of all that it holds. */
static long ring_close(struct request *request)
{
	(void)request;
	if (ring.mapped) {
		munmap(ring.ring, RING_BYTES);
		munmap(ring.entries, 4096);
	}
	return close(ring.fd) < 0 ? -errno : 0;
}

const struct verb ring_verbs[] = {
	{"ring", ring_setup},
	{"ring_poll", ring_poll},
	{"ring_provide", ring_provide},
	{"ring_of_buffers", ring_of_buffers},
	{"ring_select", ring_select},
	{"ring_multishot", ring_multishot},
	{"ring_reap", ring_reap},
	{"ring_file", ring_file},
	{"ring_write", ring_write},
	{"ring_close", ring_close},
	{0},
};
