/*
 * Comparing two regions as quickly as memory can be read: memcmp on all processors.
 *
 * usage: compare MIB
 *
 * Makes two regions of shared memory of the same content, as a checkpoint and its parent are. For
 * each line on stdin it prints the seconds of a memcmp of the two, page by page, shared out among
 * as many threads as there are processors.
 */
#define _GNU_SOURCE
#include <err.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { PAGE = 4096, BLOCK = 256 /* pages that a thread takes at a time */, MOST = 64 };

static unsigned char *one, *other;
static size_t pages;
static atomic_size_t next_page, differing;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static unsigned char *region(void)
{
	unsigned char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		err(1, "mmap");
	for (size_t page = 0; page < pages; page++)
		memset(memory + page * PAGE, (int)(page % 255) + 1, PAGE);
	return memory;
}

static void *compare(void *unused)
{
	size_t page, found = 0;

	(void)unused;
	while ((page = atomic_fetch_add(&next_page, BLOCK)) < pages)
		for (size_t end = page + BLOCK; page < end && page < pages; page++)
			found += memcmp(one + page * PAGE, other + page * PAGE, PAGE) != 0;
	atomic_fetch_add(&differing, found);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[MOST];
	cpu_set_t allowed;
	char line[64];
	int count;

	if (argc != 2 || sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		errx(2, "usage: compare MIB");
	count = CPU_COUNT(&allowed) < MOST ? CPU_COUNT(&allowed) : MOST;
	pages = strtoul(argv[1], NULL, 10) << 8;
	one = region();
	other = region();
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		double begun = now();

		next_page = 0;
		for (int i = 1; i < count; i++)
			if (pthread_create(&threads[i], NULL, compare, NULL) != 0)
				errx(1, "pthread_create");
		compare(NULL);
		for (int i = 1; i < count; i++)
			pthread_join(threads[i], NULL);
		if (differing)
			errx(1, "what was written twice differs");
		printf("%.9f\n", now() - begun);
		fflush(stdout);
	}
	return 0;
}
