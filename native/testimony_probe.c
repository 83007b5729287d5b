/*
 * Whether the kernel testifies to what others do to shared memory: a child does each thing once,
 * to a memory file and to a file in /dev/shm.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"

/* What things are done to: a file of one page, and a mapping of it that was there before. */
struct subject {
	int fd;
	unsigned char *memory;
};

static bool store(struct subject subject)
{
	subject.memory[1]++;
	return true;
}

static bool write_at(struct subject subject)
{
	return pwrite(subject.fd, "2", 1, 0) == 1;
}

/* io_submit(2), in a context that is gone afterwards. */
static bool submit(struct subject subject)
{
	aio_context_t context = 0;
	struct iocb output = {.aio_fildes = (uint32_t)subject.fd,
			      .aio_lio_opcode = IOCB_CMD_PWRITE,
			      .aio_buf = (uintptr_t)"3",
			      .aio_nbytes = 1};
	struct iocb *outputs[] = {&output};
	struct io_event event;
	bool done;

	if (syscall(SYS_io_setup, 1, &context) < 0)
		return errno == ENOSYS; /* a kernel without, which nobody can write by either */
	done = syscall(SYS_io_submit, context, 1, outputs) == 1 &&
	       syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1 && event.res == 1;
	return syscall(SYS_io_destroy, context) == 0 && done;
}

static bool splice_in(struct subject subject)
{
	loff_t offset = 0;
	int ends[2];

	return pipe(ends) == 0 && write(ends[1], "4", 1) == 1 &&
	       splice(ends[0], NULL, subject.fd, &offset, 1, 0) == 1;
}

static bool punch(struct subject subject)
{
	return fallocate(subject.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1) == 0;
}

static bool cut(struct subject subject)
{
	return ftruncate(subject.fd, (off_t)tm_page_size() - 1) == 0 &&
	       ftruncate(subject.fd, (off_t)tm_page_size()) == 0;
}

static bool map_anew(struct subject subject)
{
	TM_CLEANUP(tm_close) int anew = -1;
	char path[64];
	void *memory;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", subject.fd);
	anew = open(path, O_RDWR | O_CLOEXEC | O_NOATIME);
	memory = mmap(NULL, tm_page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, anew, 0);
	return memory != MAP_FAILED && munmap(memory, tm_page_size()) == 0;
}

static const struct {
	const char *name;
	bool (*go)(struct subject subject);
	int verdict;
} deeds[] = {{"a store", store, TM_TESTIMONY_UNTOUCHED},
	     {"pwrite", write_at, TM_TESTIMONY_TOUCHED},
	     {"io_submit", submit, TM_TESTIMONY_TOUCHED},
	     {"splice", splice_in, TM_TESTIMONY_TOUCHED},
	     {"fallocate", punch, TM_TESTIMONY_TOUCHED},
	     {"ftruncate", cut, TM_TESTIMONY_TOUCHED},
	     {"mmap", map_anew, TM_TESTIMONY_TOUCHED},
	     {"another store", store, TM_TESTIMONY_UNTOUCHED}};

/* Has a child do one thing. */
static bool do_in_child(size_t deed, struct subject subject)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(deeds[deed].go(subject) ? 0 : 1);
	while (child > 0 && waitpid(child, &status, __WALL) < 0) {
		if (errno != EINTR)
			return false;
	}
	return child > 0 && status == 0;
}

static int probe_deeds(struct tm_testimony *testimony, struct subject subject, uint32_t object,
		       struct tm_error *error)
{
	unsigned char verdict;
	int code = tm_testimony_look(testimony, &object, 1, &verdict, error);

	for (size_t i = 0; code == TM_OK && i < sizeof(deeds) / sizeof(*deeds); i++) {
		if (!do_in_child(i, subject))
			return tm_fail(error, TM_STATE, "a child could not try %s", deeds[i].name);
		code = tm_testimony_look(testimony, &object, 1, &verdict, error);
		if (code == TM_OK && verdict != deeds[i].verdict)
			return tm_fail(error, TM_UNSUPPORTED, "the kernel does not tell of %s",
				       deeds[i].name);
	}
	return code;
}

static int probe_file(struct tm_testimony *testimony, int fd, struct tm_error *error)
{
	struct subject subject = {.fd = fd};
	uint32_t object;
	int code;

	if (fd < 0 || ftruncate(fd, (off_t)tm_page_size()) < 0)
		return tm_fail(error, TM_SYSTEM, "make a file to try things on");
	subject.memory = mmap(NULL, tm_page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (subject.memory == MAP_FAILED)
		return tm_fail(error, TM_SYSTEM, "map a file to try things on");
	code = tm_testimony_add(testimony, fd, &object, error);
	if (code == TM_OK)
		code = probe_deeds(testimony, subject, object, error);
	munmap(subject.memory, tm_page_size());
	return code;
}

int tm_testimony_probe(struct tm_error *error)
{
	TM_CLEANUP(tm_close) int memfd = memfd_create("tidemark", MFD_CLOEXEC);
	TM_CLEANUP(tm_close) int file = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct tm_testimony *testimony;
	bool ready;
	int code = tm_testimony_open(NULL, &testimony, error);

	if (code != TM_OK)
		return code;
	code = tm_testimony_ready(testimony, true, &ready, error);
	if (code == TM_OK)
		code = probe_file(testimony, memfd, error);
	if (code == TM_OK && file >= 0) /* there may be no /dev/shm */
		code = probe_file(testimony, file, error);
	tm_testimony_close(testimony);
	return code;
}
