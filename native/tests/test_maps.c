/* The listing of shared mappings against what this process itself mapped. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { CAPACITY = 64 };

static const struct tm_mapping *find(const struct tm_mapping *mappings, size_t count,
				     const void *start)
{
	for (size_t i = 0; i < count; i++)
		if (mappings[i].start == (uintptr_t)start)
			return &mappings[i];
	return NULL;
}

static void lists_offset_identity_and_protection(void)
{
	struct tm_mapping mappings[CAPACITY];
	struct tm_error error;
	struct stat status;
	const struct tm_mapping *found;
	size_t count, size = tm_page_size();
	int fd = memfd_create("tide pool", 0);
	unsigned char *whole, *part;

	CHECK(fd >= 0 && ftruncate(fd, (off_t)(8 * size)) == 0 && fstat(fd, &status) == 0);
	whole = mmap(NULL, 8 * size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	part = mmap(NULL, 2 * size, PROT_READ, MAP_SHARED, fd, (off_t)(3 * size));
	CHECK(whole != MAP_FAILED && part != MAP_FAILED);
	CHECK_OK(tm_maps_shared(getpid(), CAPACITY, mappings, &count, &error));
	found = find(mappings, count, whole);
	CHECK(found && found->end - found->start == 8 * size && found->offset == 0);
	CHECK(found->protection == (PROT_READ | PROT_WRITE));
	found = find(mappings, count, part);
	CHECK(found && found->end - found->start == 2 * size && found->offset == 3 * size);
	CHECK(found->protection == PROT_READ);
	CHECK(found->inode == status.st_ino);
	CHECK(found->device_major == major(status.st_dev) &&
	      found->device_minor == minor(status.st_dev));
	CHECK(strcmp(found->name, "/memfd:tide pool (deleted)") == 0);
	munmap(whole, 8 * size);
	munmap(part, 2 * size);
	close(fd);
}

static void keeps_the_beginning_of_a_long_name(void)
{
	struct tm_mapping mappings[CAPACITY];
	struct tm_error error;
	const struct tm_mapping *found;
	char name[250];
	size_t count, size = tm_page_size();
	unsigned char *memory;
	int fd;

	memset(name, 'n', 249);
	name[249] = '\0';
	fd = memfd_create(name, 0);
	CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	memory = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	CHECK_OK(tm_maps_shared(getpid(), CAPACITY, mappings, &count, &error));
	found = find(mappings, count, memory);
	CHECK(found && strncmp(found->name, "/memfd:nnn", 10) == 0);
	CHECK(strlen(found->name) == TM_NAME_MAX - 1);
	munmap(memory, size);
	close(fd);
}

static void tells_how_many_do_not_fit(void)
{
	struct tm_mapping mapping;
	struct tm_error error;
	unsigned char *a = check_share(1), *b = check_share(1);
	size_t count;

	CHECK_OK(tm_maps_shared(getpid(), 1, &mapping, &count, &error));
	CHECK(count >= 2 && mapping.end > mapping.start);
	munmap(a, tm_page_size());
	munmap(b, tm_page_size());
}

static void says_that_a_process_is_gone(void)
{
	struct tm_mapping mapping;
	struct tm_error error;
	size_t count;
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	CHECK(waitpid(child, NULL, 0) == child);
	CHECK(tm_maps_shared(child, 1, &mapping, &count, &error) == TM_GONE);
	CHECK(error.pid == child);
}

int main(void)
{
	lists_offset_identity_and_protection();
	keeps_the_beginning_of_a_long_name();
	tells_how_many_do_not_fit();
	says_that_a_process_is_gone();
	return 0;
}
