/* Writing into another process's memory, from memory that is provided only when the test says so.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "actor.h"

/* One call of process_vm_writev(2), made by a thread, which waits for its source. */
static struct {
	int faults;
	char *source;
	int pid;
	char *target;
	size_t bytes;
	long value;
	long result;
	pthread_t writer, provider;
	sem_t pinned, go;
	int over;
} across;

static void *write_across(void *unused)
{
	struct iovec here = {across.source, across.bytes};
	struct iovec there = {across.target, across.bytes};

	(void)unused;
	across.result = process_vm_writev(across.pid, &here, 1, &there, 1, 0);
	if (across.result < 0)
		across.result = -errno;
	across.over = 1;
	sem_post(&across.pinned); /* where it failed before it looked at its source */
	return NULL;
}

/* Provides a page for each fault; before the first it waits to be told. */
static void *provide(void *unused)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	struct uffd_msg message;
	char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)unused;
	for (long i = 0; read(across.faults, &message, sizeof(message)) == sizeof(message); i++) {
		struct uffdio_copy copy = {.src = (unsigned long)page, .len = size};

		copy.dst = message.arg.pagefault.address & -size;
		if (i == 0) {
			sem_post(&across.pinned);
			sem_wait(&across.go);
		}
		*(long *)page = across.value + i;
		ioctl(across.faults, UFFDIO_COPY, &copy);
	}
	munmap(page, size);
	return NULL;
}

/* across PID ADDRESS BYTES VALUE: begins to write; answers when the target's pages are pinned. */
static long begin_across(struct request *request)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MISSING};

	across.pid = (int)request->numbers[1];
	across.target = (char *)request->numbers[2];
	across.bytes = (size_t)request->numbers[3];
	across.value = request->numbers[4];
	across.over = 0;
	across.source = mmap(NULL, across.bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	range.range.start = (unsigned long)across.source;
	range.range.len = across.bytes;
	across.faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (across.faults < 0 || ioctl(across.faults, UFFDIO_API, &api) < 0 ||
	    ioctl(across.faults, UFFDIO_REGISTER, &range) < 0)
		return -errno;
	sem_init(&across.pinned, 0, 0);
	sem_init(&across.go, 0, 0);
	if ((errno = pthread_create(&across.provider, NULL, provide, NULL)) ||
	    (errno = pthread_create(&across.writer, NULL, write_across, NULL)))
		return -errno;
	while (sem_wait(&across.pinned) < 0)
		continue;
	return across.over ? across.result : 0;
}

/* across_end: lets it come to its end; answers how many bytes it wrote. */
static long end_across(struct request *request)
{
	(void)request;
	sem_post(&across.go);
	pthread_join(across.writer, NULL);
	pthread_cancel(across.provider);
	pthread_join(across.provider, NULL);
	munmap(across.source, across.bytes);
	close(across.faults);
	return across.result;
}

const struct verb across_verbs[] = {
	{"across", begin_across},
	{"across_end", end_across},
	{0},
};
