/* What objects say of themselves against what this process knows of them, since it made them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static struct tm_object asked(int fd)
{
	struct tm_object object;
	struct tm_error error;

	CHECK_OK(tm_object_ask(fd, &object, &error));
	return object;
}

static bool same(const struct tm_object *one, const struct tm_object *other)
{
	return one->inode == other->inode && one->device_major == other->device_major &&
	       one->device_minor == other->device_minor &&
	       one->handle_bytes == other->handle_bytes &&
	       memcmp(one->handle, other->handle, one->handle_bytes) == 0;
}

/* The mappings that start at `memory`; skips the test where their objects may not be asked. */
static struct tm_object mapped(const void *memory, size_t size)
{
	struct tm_span span = {(uintptr_t)memory, (uintptr_t)memory + size};
	struct tm_object object;
	struct tm_error error;

	CHECK_OK(tm_objects_mapped(getpid(), &span, 1, &object, &error));
	if (object.sys_errno == EPERM || object.sys_errno == EACCES) {
		printf("skipped: the links in map_files may not be followed\n");
		exit(0);
	}
	CHECK(object.sys_errno == 0);
	return object;
}

static void tells_shared_memory_from_a_device(void)
{
	int memory = memfd_create("tide", 0), device = open("/dev/null", O_PATH);
	struct tm_object file = asked(memory), null = asked(device);

	CHECK(file.file_system == TMPFS_MAGIC && S_ISREG(file.mode) && file.handle_bytes > 0);
	CHECK(S_ISCHR(null.mode));
	close(memory);
	close(device);
}

static void knows_an_object_by_its_mapping(void)
{
	size_t size = tm_page_size();
	int fd = memfd_create("tide", 0), other = memfd_create("tide", 0);
	struct tm_object by_descriptor, by_mapping, another = asked(other);
	unsigned char *memory;

	CHECK(ftruncate(fd, (off_t)size) == 0);
	by_descriptor = asked(fd);
	memory = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	by_mapping = mapped(memory, size);
	CHECK(same(&by_mapping, &by_descriptor) && !same(&by_mapping, &another));
	CHECK(by_mapping.size == size);
	munmap(memory, size);
	close(other);
}

static void says_which_mapping_is_not_there(void)
{
	size_t size = tm_page_size();
	unsigned char *memory = check_share(1);
	struct tm_span spans[2] = {{(uintptr_t)memory, (uintptr_t)memory + size}, {size, 2 * size}};
	struct tm_object objects[2];
	struct tm_error error;

	mapped(memory, size);
	CHECK_OK(tm_objects_mapped(getpid(), spans, 2, objects, &error));
	CHECK(objects[0].sys_errno == 0 && objects[1].sys_errno == ENOENT);
	munmap(memory, size);
}

static void says_that_a_process_is_gone(void)
{
	struct tm_span span = {0, tm_page_size()};
	struct tm_object object;
	struct tm_error error;
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	CHECK(waitpid(child, NULL, 0) == child);
	CHECK(tm_objects_mapped(child, &span, 1, &object, &error) == TM_GONE);
}

int main(void)
{
	tells_shared_memory_from_a_device();
	says_that_a_process_is_gone();
	knows_an_object_by_its_mapping();
	says_which_mapping_is_not_there();
	return 0;
}
