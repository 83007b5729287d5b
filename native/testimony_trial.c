/* Whether the kernel counts what it is to count: everything is done once. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "testimony.h"

static bool cut(int fd)
{
	return ftruncate(fd, (off_t)tm_page_size()) == 0;
}

static bool write_it(int fd)
{
	return pwrite(fd, "1", 1, 0) == 1;
}

static bool punch(int fd)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			 (off_t)tm_page_size()) == 0;
}

static bool map_it(int fd)
{
	void *memory = mmap(NULL, tm_page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return memory != MAP_FAILED && munmap(memory, tm_page_size()) == 0;
}

/* The ways to change a file other than by a store; false where one could not be gone. */
static const struct {
	const char *name;
	bool (*go)(int fd);
} ways[] = {{"a cut", cut}, {"a write", write_it}, {"a hole", punch}, {"a mapping", map_it}};

static struct tm_trial read_trial(const struct tm_tally *tally)
{
	return (struct tm_trial){__atomic_load_n(&tally->entered, __ATOMIC_SEQ_CST),
				 __atomic_load_n(&tally->left, __ATOMIC_SEQ_CST)};
}

int tm_testimony_try(int fd, const struct tm_tally *tally, struct tm_trial *ret,
		     struct tm_error *error)
{
	struct tm_trial before = read_trial(tally), now = before;

	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		struct tm_trial last = now;

		if (!ways[i].go(fd))
			return tm_fail(error, TM_SYSTEM, "try %s", ways[i].name);
		now = read_trial(tally);
		if (now.entered == last.entered || now.left == last.left)
			return tm_fail(error, TM_UNSUPPORTED, "the kernel did not count %s",
				       ways[i].name);
	}
	*ret = (struct tm_trial){now.entered - before.entered, now.left - before.left};
	return TM_OK;
}
