/*
 * The bare operations that ours are held against, over files of the same content.
 *
 * usage: memory FILE OTHER
 *
 * For each line on stdin it prints the seconds of a memcpy of FILE to memory that is there, of a
 * memcmp of both through mappings that are there, of reading FILE into a fresh mapping, and of the
 * XXH3-128 of each of its pages through a mapping that is there. Then, of FILE, those of touching
 * each page through a new mapping, of pread by a small buffer, of writing as many bytes to a new
 * memory file, and of writing them again.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { PAGE = 4096, BUFFER = 256 << 10 };

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int open_file(const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static void *map(int fd, size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);

	if (memory == MAP_FAILED)
		err(1, "mmap");
	return memory;
}

static double read_afresh(int fd, size_t size)
{
	double begun = now();
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	for (size_t done = 0; done < size;) {
		ssize_t got = pread(fd, memory + done, size - done, (off_t)done);

		if (got <= 0)
			err(1, "read");
		done += (size_t)got;
	}
	begun = now() - begun;
	munmap(memory, size);
	return begun;
}

static double hash_pages(const char *memory, size_t size)
{
	double begun = now();
	volatile XXH64_hash_t sum = 0;

	for (size_t done = 0; done < size; done += PAGE)
		sum += XXH3_128bits(memory + done, PAGE).low64;
	return now() - begun;
}

static double map_afresh(int fd, size_t size)
{
	double begun = now();
	volatile unsigned char *memory = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	unsigned sum = 0;

	for (size_t done = 0; done < size; done += PAGE)
		sum += memory[done];
	munmap((void *)memory, size);
	return sum ? now() - begun : 0;
}

static double read_by_buffer(int fd, size_t size)
{
	static char buffer[BUFFER];
	double begun = now();

	for (size_t done = 0; done < size; done += BUFFER)
		if (pread(fd, buffer, BUFFER, (off_t)done) <= 0)
			err(1, "read");
	return now() - begun;
}

static double write_by_buffer(int out, size_t size)
{
	static char buffer[BUFFER];
	double begun = now();

	for (size_t done = 0; done < size; done += BUFFER)
		if (pwrite(out, buffer, BUFFER, (off_t)done) <= 0)
			err(1, "write");
	return now() - begun;
}

static void print_limits(int fd, size_t size)
{
	int out = memfd_create("limits", MFD_CLOEXEC);
	double first = write_by_buffer(out, size);

	printf(" %.9f %.9f %.9f %.9f\n", map_afresh(fd, size), read_by_buffer(fd, size), first,
	       write_by_buffer(out, size));
	close(out);
}

int main(int argc, char **argv)
{
	int fd = open_file(argc == 3 ? argv[1] : "/dev/null");
	int other_fd = open_file(argc == 3 ? argv[2] : "/dev/null");
	struct stat status;
	char *memory, *other, *out;
	char line[64];

	if (argc != 3 || fstat(fd, &status) != 0)
		errx(2, "usage: memory FILE OTHER");
	memory = map(fd, (size_t)status.st_size);
	other = map(other_fd, (size_t)status.st_size);
	out = malloc((size_t)status.st_size);
	if (!out)
		err(1, "malloc");
	memset(out, 1, (size_t)status.st_size);
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		double begun = now(), copied, compared;
		volatile int differs;

		memcpy(out, memory, (size_t)status.st_size);
		copied = now() - begun;
		begun = now();
		differs = memcmp(memory, other, (size_t)status.st_size);
		(void)differs;
		compared = now() - begun;
		printf("%.9f %.9f %.9f ", copied, compared,
		       read_afresh(fd, (size_t)status.st_size));
		printf("%.9f", hash_pages(memory, (size_t)status.st_size));
		print_limits(fd, (size_t)status.st_size);
		fflush(stdout);
	}
	return 0;
}
