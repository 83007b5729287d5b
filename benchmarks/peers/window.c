/*
 * The shortest freeze that is possible: stop all processes, one bare PAGEMAP_SCAN per process, and
 * a memcpy of the pages that were written.
 *
 * usage: window MIB PROCESSES SHARE
 *
 * Makes processes that share a region, each under write-protection of its own. For each line on
 * stdin it has a share of the pages written by the first of them, and prints for how many seconds
 * all of them stood, the seconds of the scans among these, those of a loop of pread(2) over the
 * same entries of pagemap just before, and how many pages were copied.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "uapi.h"

enum { PAGE = 4096, MOST = 64, RUNS = 4096 };

struct group {
	unsigned char *memory;
	size_t pages;
	size_t step; /* every how many pages one is written */
	int count;
	pid_t pids[MOST];
	int pagemaps[MOST];
	int go[2], done[2];
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void say(int fd)
{
	if (write(fd, "x", 1) != 1)
		err(1, "write");
}

static void hear(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		exit(0);
}

/* Puts the region in this process under asynchronous write-protection. */
static void protect(struct group *group)
{
	struct uffdio_api api = {.api = UFFD_API,
				 .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP |
					     UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
					     UFFD_FEATURE_WP_ASYNC};
	struct uffdio_register range = {
		.range = {.start = (uintptr_t)group->memory, .len = group->pages * PAGE},
		.mode = UFFDIO_REGISTER_MODE_WP};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range))
		err(1, "userfaultfd");
}

static void live(struct group *group, int index)
{
	volatile unsigned char *memory = group->memory;
	unsigned long sum = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	protect(group);
	for (size_t page = 0; page < group->pages; page++)
		sum += memory[page * PAGE];
	say(group->done[1]);
	if (index > 0 || sum == 0)
		for (;;)
			pause();
	for (unsigned char value = 2;; value++) {
		hear(group->go[0]);
		for (size_t page = 0; page < group->pages; page += group->step)
			memory[page * PAGE] = value;
		say(group->done[1]);
	}
}

static void begin(struct group *group)
{
	for (int i = 0; i < group->count; i++) {
		char path[64];

		group->pids[i] = fork();
		if (group->pids[i] == 0)
			live(group, i);
		hear(group->done[0]);
		snprintf(path, sizeof(path), "/proc/%d/pagemap", group->pids[i]);
		group->pagemaps[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (group->pagemaps[i] < 0 || ptrace(PTRACE_SEIZE, group->pids[i], NULL, NULL) != 0)
			err(1, "attach");
	}
}

static void stop(const struct group *group)
{
	for (int i = 0; i < group->count; i++)
		if (ptrace(PTRACE_INTERRUPT, group->pids[i], NULL, NULL) != 0)
			err(1, "interrupt");
	for (int i = 0; i < group->count; i++)
		if (waitpid(group->pids[i], NULL, __WALL) < 0)
			err(1, "waitpid");
}

static void resume(const struct group *group)
{
	for (int i = 0; i < group->count; i++)
		if (ptrace(PTRACE_CONT, group->pids[i], NULL, NULL) != 0)
			err(1, "continue");
}

/* Gets and clears what was written through one process; adds it to `bitmap`. */
static void scan(const struct group *group, int index, uint64_t *bitmap)
{
	static struct page_region runs[RUNS];
	uintptr_t start = (uintptr_t)group->memory;
	struct pm_scan_arg scan = {.size = sizeof(scan),
				   .flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
				   .start = start,
				   .end = start + group->pages * PAGE,
				   .vec = (uintptr_t)runs,
				   .vec_len = RUNS,
				   .category_mask = PAGE_IS_WRITTEN,
				   .return_mask = PAGE_IS_WRITTEN};

	while (scan.start < scan.end) {
		int count = ioctl(group->pagemaps[index], PAGEMAP_SCAN, &scan);

		if (count < 0)
			err(1, "PAGEMAP_SCAN");
		for (int i = 0; i < count; i++)
			for (uintptr_t at = runs[i].start; at < runs[i].end; at += PAGE) {
				size_t page = (at - start) / PAGE;

				bitmap[page / 64] |= UINT64_C(1) << page % 64;
			}
		scan.start = scan.walk_end;
	}
}

static size_t copy(const struct group *group, const uint64_t *bitmap, unsigned char *out)
{
	unsigned char *at = out;

	for (size_t word = 0; word < (group->pages + 63) / 64; word++)
		for (uint64_t bits = bitmap[word]; bits; bits &= bits - 1, at += PAGE) {
			size_t page = word * 64 + (size_t)__builtin_ctzll(bits);

			memcpy(at, group->memory + page * PAGE, PAGE);
		}
	return (size_t)(at - out) / PAGE;
}

/* The same by reading pagemap entry by entry, which clears nothing. */
static void read_entries(const struct group *group, int index, uint64_t *bitmap)
{
	static uint64_t entries[RUNS];

	for (size_t done = 0; done < group->pages; done += RUNS) {
		off_t offset = (off_t)(((uintptr_t)group->memory / PAGE + done) * sizeof(*entries));

		if (pread(group->pagemaps[index], entries, sizeof(entries), offset) < 0)
			err(1, "pread");
		for (size_t i = 0; i < RUNS && done + i < group->pages; i++)
			if (!(entries[i] >> 57 & 1)) /* no userfaultfd protection */
				bitmap[(done + i) / 64] |= UINT64_C(1) << (done + i) % 64;
	}
}

static void measure(struct group *group, uint64_t *bitmap, unsigned char *out)
{
	double begun, scanned, ended, read;
	size_t copied;

	say(group->go[1]);
	hear(group->done[0]);
	read = now();
	for (int i = 0; i < group->count; i++)
		read_entries(group, i, bitmap);
	read = now() - read;
	memset(bitmap, 0, group->pages / 8 + 8);
	begun = now();
	stop(group);
	scanned = now();
	for (int i = 0; i < group->count; i++)
		scan(group, i, bitmap);
	ended = now();
	copied = copy(group, bitmap, out);
	resume(group);
	printf("%.9f %.9f %.9f %zu\n", now() - begun, ended - scanned, read, copied);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct group group = {0};
	unsigned char *out;
	uint64_t *bitmap;
	char line[64];

	if (argc != 4)
		errx(2, "usage: window MIB PROCESSES SHARE");
	group.pages = strtoul(argv[1], NULL, 10) << 8;
	group.count = atoi(argv[2]);
	group.step = (size_t)(1 / atof(argv[3]));
	group.memory = mmap(NULL, group.pages * PAGE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	out = malloc(group.pages * PAGE / (group.step ? group.step : 1) + PAGE);
	bitmap = malloc(group.pages / 8 + 8);
	if (group.memory == MAP_FAILED || !out || !bitmap || group.count > MOST ||
	    pipe(group.go) != 0 || pipe(group.done) != 0)
		err(1, "prepare");
	memset(group.memory, 1, group.pages * PAGE);
	begin(&group);
	for (int i = 0; i < group.count; i++) /* arm, and have all pages of `out` there */
		scan(&group, i, bitmap);
	memset(out, 1, group.pages * PAGE / (group.step ? group.step : 1) + PAGE);
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		measure(&group, bitmap, out);
	return 0;
}
