/*
 * What the first store to a page costs, by the way in which it is noticed.
 *
 * usage: faults MIB
 *
 * For each line on stdin it prints four times, in seconds per page: of stores that nobody notices,
 * under asynchronous userfaultfd write-protection, under mprotect(2) with a SIGSEGV handler, and
 * under synchronous userfaultfd write-protection, which another thread resolves. The fifth is that
 * of changing over from asynchronous to synchronous protection and back, in seconds for all pages.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "uapi.h"

enum { PAGE = 4096 };

static unsigned char *memory;
static size_t pages;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double store_to_all(void)
{
	volatile unsigned char *at = memory;
	double begun = now();

	for (size_t page = 0; page < pages; page++)
		at[page * PAGE] = (unsigned char)page;
	return (now() - begun) / (double)pages;
}

static struct uffdio_range all(void)
{
	return (struct uffdio_range){.start = (uintptr_t)memory, .len = pages * PAGE};
}

enum {
	SYNCHRONOUS = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
	ASYNCHRONOUS = SYNCHRONOUS | UFFD_FEATURE_WP_ASYNC,
};

static int protect(uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	struct uffdio_register cover = {.range = all(), .mode = UFFDIO_REGISTER_MODE_WP};
	struct uffdio_writeprotect arm = {.range = all(), .mode = UFFDIO_WRITEPROTECT_MODE_WP};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &cover) ||
	    ioctl(fd, UFFDIO_WRITEPROTECT, &arm))
		err(1, "userfaultfd");
	return fd;
}

static double asynchronous(void)
{
	int fd = protect(ASYNCHRONOUS);
	double seconds = store_to_all();

	close(fd);
	return seconds;
}

static void *resolve(void *context)
{
	int fd = *(int *)context;
	struct uffd_msg message;

	for (size_t left = pages; left; left--) {
		struct uffdio_writeprotect free_it = {.range = {.len = PAGE}};

		if (read(fd, &message, sizeof(message)) != sizeof(message))
			err(1, "read");
		free_it.range.start = message.arg.pagefault.address & ~(uint64_t)(PAGE - 1);
		if (ioctl(fd, UFFDIO_WRITEPROTECT, &free_it))
			err(1, "UFFDIO_WRITEPROTECT");
	}
	return NULL;
}

static double synchronous(void)
{
	int fd = protect(SYNCHRONOUS);
	pthread_t thread;
	double seconds;

	pthread_create(&thread, NULL, resolve, &fd);
	seconds = store_to_all();
	pthread_join(thread, NULL);
	close(fd);
	return seconds;
}

/* A mapping has one userfaultfd, and that is of one kind: it must be given up for the other. */
static double change_over(void)
{
	int fd = protect(ASYNCHRONOUS);
	double begun = now();

	close(fd);
	fd = protect(SYNCHRONOUS);
	close(fd);
	fd = protect(ASYNCHRONOUS);
	begun = now() - begun;
	close(fd);
	return begun;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	mprotect((void *)((uintptr_t)info->si_addr & ~(uintptr_t)(PAGE - 1)), PAGE,
		 PROT_READ | PROT_WRITE);
}

static double by_signal(void)
{
	struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

	sigaction(SIGSEGV, &ours, NULL);
	mprotect(memory, pages * PAGE, PROT_READ);
	return store_to_all();
}

int main(int argc, char **argv)
{
	char line[64];

	if (argc != 2)
		errx(2, "usage: faults MIB");
	pages = strtoul(argv[1], NULL, 10) << 8;
	memory =
		mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap");
	memset(memory, 1, pages * PAGE);
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		double plain = store_to_all();

		printf("%.12f %.12f ", plain, asynchronous());
		printf("%.12f ", by_signal());
		printf("%.12f ", synchronous());
		printf("%.12f\n", change_over());
		fflush(stdout);
	}
	return 0;
}
