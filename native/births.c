/*
 * The kernel's own reports of the processes that are made on this machine: perf_event_open(2)
 * with side-band records. They name who made a process, whatever clone(2) was told: neither
 * CLONE_UNTRACED nor CLONE_PARENT hides anything. A record is written before the new process
 * runs, in the order of time on each processor.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

enum { RING_BYTES = 1 << 18, LONGEST_RECORD = 64, LIST_BYTES = 256 };

static const char online_path[] = "/sys/devices/system/cpu/online";

/* The records of one processor. */
struct ring {
	int fd;
	struct perf_event_mmap_page *control; /* the records follow in the next page */
};

struct tm_births {
	int poll;
	int list; /* of the processors that are on */
	size_t count;
	char online[LIST_BYTES]; /* as the list was when the rings were opened */
	struct ring rings[];
};

/* PERF_RECORD_FORK */
struct record {
	struct perf_event_header header;
	uint32_t pid, maker;
	uint32_t tid, maker_tid;
	uint64_t time;
};

/* Reads it anew from the start: an attribute of sysfs gives what is so now. */
static void list_online(int fd, char list[LIST_BYTES])
{
	memset(list, 0, LIST_BYTES);
	if (pread(fd, list, LIST_BYTES - 1, 0) < 0)
		list[0] = '\0';
}

static int open_ring(int processor, int poll, struct ring *ret, struct tm_error *error)
{
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attributes),
		.config = PERF_COUNT_SW_DUMMY,
		.exclude_kernel = 1,
		.task = 1,
		.watermark = 1,
		.wakeup_watermark = RING_BYTES / 2,
		.use_clockid = 1,
		.clockid = CLOCK_MONOTONIC,
	};
	struct epoll_event readable = {.events = EPOLLIN};
	void *memory;
	int fd = (int)syscall(SYS_perf_event_open, &attributes, -1, processor, -1,
			      PERF_FLAG_FD_CLOEXEC);

	if (fd < 0 && errno == ENODEV)
		return TM_GONE; /* this processor is off */
	if (fd < 0)
		return tm_fail_on(error, 0, "perf_event_open");
	memory = mmap(NULL, tm_page_size() + RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED || epoll_ctl(poll, EPOLL_CTL_ADD, fd, &readable) < 0) {
		(void)tm_fail_on(error, 0, "map the records of a processor");
		close(fd);
		return error->code;
	}
	*ret = (struct ring){.fd = fd, .control = memory};
	return TM_OK;
}

int tm_births_open(struct tm_births **ret, struct tm_error *error)
{
	long processors = sysconf(_SC_NPROCESSORS_CONF);
	size_t size = sizeof(**ret) + (size_t)processors * sizeof(struct ring);
	struct tm_births *births = calloc(1, size);
	int code = TM_OK;

	if (!births)
		return tm_fail(error, TM_MEMORY, "reports of births");
	births->poll = epoll_create1(EPOLL_CLOEXEC);
	births->list = open(online_path, O_RDONLY | O_CLOEXEC);
	if (births->poll < 0 || births->list < 0)
		code = tm_fail(error, TM_SYSTEM, "reports of births");
	list_online(births->list, births->online);
	for (int i = 0; i < processors && (code == TM_OK || code == TM_GONE); i++) {
		code = open_ring(i, births->poll, &births->rings[births->count], error);
		births->count += code == TM_OK;
	}
	if (code != TM_OK && code != TM_GONE) {
		tm_births_close(births);
		return code;
	}
	*ret = births;
	return TM_OK;
}

void tm_births_close(struct tm_births *births)
{
	for (size_t i = 0; i < births->count; i++) {
		munmap(births->rings[i].control, tm_page_size() + RING_BYTES);
		close(births->rings[i].fd);
	}
	tm_close(&births->poll);
	tm_close(&births->list);
	free(births);
}

int tm_births_descriptor(const struct tm_births *births)
{
	return births->poll;
}

/* Copies the start of the record at `offset`; one may reach over the end of the ring. */
static void copy_record(const struct ring *ring, uint64_t offset, struct record *ret)
{
	const unsigned char *bytes = (const unsigned char *)ring->control + tm_page_size();

	for (size_t i = 0; i < sizeof(*ret); i++)
		((unsigned char *)ret)[i] = bytes[(offset + i) % RING_BYTES];
}

/* Takes what one ring holds, as long as there is room. */
static void read_ring(struct ring *ring, size_t capacity, struct tm_birth *ret, size_t *count,
		      bool *lost)
{
	uint64_t head = __atomic_load_n(&ring->control->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = ring->control->data_tail;
	struct record record;

	/* A record that finds no room is dropped, which the next one that finds some tells. */
	*lost = *lost || head - tail > RING_BYTES - LONGEST_RECORD;
	while (tail < head && *count < capacity) {
		copy_record(ring, tail, &record);
		if (record.header.size == 0) {
			*lost = true;
			tail = head;
			break;
		}
		*lost = *lost || record.header.type == PERF_RECORD_LOST;
		/* A thread has the process of its maker. */
		if (record.header.type == PERF_RECORD_FORK && record.pid != record.maker)
			ret[(*count)++] =
				(struct tm_birth){(int)record.maker, (int)record.pid, record.time};
		tail += record.header.size;
	}
	__atomic_store_n(&ring->control->data_tail, tail, __ATOMIC_RELEASE);
}

size_t tm_births_read(struct tm_births *births, size_t capacity, struct tm_birth *ret, bool *lost)
{
	char online[LIST_BYTES];
	size_t count = 0;

	list_online(births->list, online);
	/* A processor that has come has no ring, and the ring of one that went is dead. */
	*lost = strcmp(online, births->online) != 0;
	for (size_t i = 0; i < births->count; i++)
		read_ring(&births->rings[i], capacity, ret, &count, lost);
	return count;
}
