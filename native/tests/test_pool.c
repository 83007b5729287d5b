/* Threads that share work: all of it is done, once, and as one thread would do it. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "pool.h"

enum { PIECES = 500, PAGES = 333, HELD = 300 /* behind these the file ends, or a hole is */ };

struct pieces {
	atomic_uint next;
	atomic_uint done[PIECES];
};

static void do_pieces(void *context)
{
	struct pieces *pieces = context;
	unsigned i;

	while ((i = atomic_fetch_add(&pieces->next, 1)) < PIECES)
		atomic_fetch_add(&pieces->done[i], 1);
}

static struct tm_pool *pool_of(unsigned threads)
{
	struct tm_pool *pool;
	struct tm_error error;

	CHECK_OK(tm_pool_create(threads, &pool, &error));
	return pool;
}

static void share_pieces(struct tm_pool *pool)
{
	struct pieces pieces = {0};

	tm_pool_share(pool, do_pieces, &pieces);
	for (unsigned i = 0; i < PIECES; i++)
		CHECK(pieces.done[i] == 1);
}

static void does_each_piece_once(struct tm_pool *pool)
{
	for (unsigned round = 0; round < 200; round++)
		share_pieces(pool);
}

static void *ask(void *pool)
{
	does_each_piece_once(pool);
	return NULL;
}

static void serves_two_who_ask_at_once(struct tm_pool *pool)
{
	pthread_t other;

	CHECK(pthread_create(&other, NULL, ask, pool) == 0);
	does_each_piece_once(pool);
	CHECK(pthread_join(other, NULL) == 0);
}

static void does_without_threads_after_a_fork(struct tm_pool *pool)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		share_pieces(pool);
		tm_pool_destroy(pool);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

struct meeting {
	pthread_barrier_t all;
	sigset_t blocked; /* of the thread that helped */
	pthread_t asker;
};

static void meet(void *context)
{
	struct meeting *meeting = context;

	if (!pthread_equal(pthread_self(), meeting->asker))
		pthread_sigmask(SIG_SETMASK, NULL, &meeting->blocked);
	pthread_barrier_wait(&meeting->all);
}

static void has_threads_that_take_no_signals(void)
{
	struct tm_pool *pool = pool_of(1);
	struct meeting meeting = {.asker = pthread_self()};

	CHECK(pthread_barrier_init(&meeting.all, NULL, 2) == 0);
	tm_pool_share(pool, meet, &meeting);
	CHECK(sigismember(&meeting.blocked, SIGTERM) && sigismember(&meeting.blocked, SIGCHLD));
	pthread_barrier_destroy(&meeting.all);
	tm_pool_destroy(pool);
}

/* A memory file whose page k is all `byte` + k, with a hole behind HELD if it is to be `whole`. */
static int numbered_file(unsigned byte, bool whole)
{
	size_t size = tm_page_size();
	unsigned char *page = malloc(size);
	int fd = memfd_create("numbered", 0);

	CHECK(fd >= 0 && page);
	for (unsigned i = 0; i < HELD; i++) {
		memset(page, (int)(byte + i), size);
		CHECK(write(fd, page, size) == (ssize_t)size);
	}
	CHECK(!whole || ftruncate(fd, (off_t)(PAGES * size)) == 0);
	free(page);
	return fd;
}

/* Some pages: a long run, single ones, and the last one. */
static struct tm_bitmap *some_pages(void)
{
	struct tm_bitmap *which = tm_bitmap_create(PAGES);

	CHECK(tm_bitmap_set(which, 1, 201) == TM_OK && tm_bitmap_set(which, PAGES - 1, 1) == TM_OK);
	for (uint64_t page = 205; page < PAGES - 1; page += 3)
		CHECK(tm_bitmap_set(which, page, 1) == TM_OK);
	return which;
}

static void packs_hashes_and_copies_as_one_thread_does(struct tm_pool *pool)
{
	size_t size = tm_page_size(), bytes = PAGES * size;
	int fd = numbered_file(1, true), out = memfd_create("out", 0), one = memfd_create("one", 0);
	struct tm_extent extent = {.count = PAGES, .fd = fd};
	struct tm_source shared = {.extents = &extent, .count = 1, .pool = pool};
	struct tm_source alone = {.extents = &extent, .count = 1};
	struct tm_bitmap *which = some_pages();
	size_t packed = tm_bitmap_count(which) * size;
	unsigned char hashes[4][PAGES * TM_HASH_BYTES] = {0};
	unsigned char *content = malloc(2 * bytes);
	struct tm_error error;

	CHECK(content && lseek(out, 5, SEEK_SET) == 5); /* what is packed goes where it stands */
	CHECK_OK(tm_pages_pack(&shared, which, out, hashes[0], &error));
	CHECK(lseek(out, 0, SEEK_CUR) == (off_t)(5 + packed));
	CHECK_OK(tm_pages_pack(&alone, which, one, hashes[1], &error));
	CHECK_OK(tm_pages_hash(&shared, which, hashes[2], &error));
	CHECK_OK(tm_pages_hash(&alone, which, hashes[3], &error));
	for (int i = 1; i < 4; i++)
		CHECK(memcmp(hashes[0], hashes[i], sizeof(hashes[0])) == 0);
	CHECK(pread(out, content, bytes, 5) == (ssize_t)packed);
	CHECK(pread(one, content + bytes, bytes, 0) == (ssize_t)packed);
	CHECK(memcmp(content, content + bytes, packed) == 0);
	memset(content, 0xaa, bytes);
	CHECK_OK(tm_pages_copy(&shared, which, content, &error));
	CHECK(memcmp(content, content + bytes, packed) == 0 && content[packed] == 0xaa);
	free(content);
	tm_bitmap_destroy(which);
	close(fd);
	close(out);
	close(one);
}

static void finds_each_page_that_differs(struct tm_pool *pool)
{
	size_t size = tm_page_size();
	int fd = numbered_file(1, true), other_fd = numbered_file(1, true);
	struct tm_extent extent = {.count = PAGES, .fd = fd};
	struct tm_extent other_extent = {.count = PAGES, .fd = other_fd};
	struct tm_source source = {.extents = &extent, .count = 1, .pool = pool};
	struct tm_source other = {.extents = &other_extent, .count = 1};
	struct tm_bitmap *which = some_pages(), *differs = tm_bitmap_create(PAGES);
	struct tm_bitmap *wanted = tm_bitmap_create(PAGES), *zero = tm_bitmap_create(PAGES);
	struct tm_error error;

	/* A zero as the last byte of every third page; in the hole that changes nothing. */
	for (uint64_t page = 0; page < PAGES; page += 3) {
		CHECK(pwrite(other_fd, "", 1, (off_t)((page + 1) * size - 1)) == 1);
		CHECK(page >= HELD || tm_bitmap_set(wanted, page, 1) == TM_OK);
	}
	/* Nor where the page was full of zeroes. */
	tm_bitmap_clear(wanted, 255, 1);
	tm_bitmap_and(wanted, which);
	CHECK_OK(tm_pages_compare(&source, &other, which, differs, &error));
	CHECK(tm_bitmap_count(differs) == tm_bitmap_count(wanted));
	tm_bitmap_andnot(wanted, differs);
	CHECK(tm_bitmap_count(wanted) == 0);
	CHECK_OK(tm_pages_zero(&source, which, zero, &error));
	tm_bitmap_clear(which, 0, HELD);
	tm_bitmap_andnot(which, zero);
	CHECK(tm_bitmap_count(which) == 0);
	tm_bitmap_destroy(which);
	tm_bitmap_destroy(differs);
	tm_bitmap_destroy(wanted);
	tm_bitmap_destroy(zero);
	close(fd);
	close(other_fd);
}

static void says_that_a_file_is_short(struct tm_pool *pool)
{
	int fd = numbered_file(1, false), whole_fd = numbered_file(1, true);
	struct tm_extent extent = {.count = PAGES, .fd = fd};
	struct tm_extent whole_extent = {.count = PAGES, .fd = whole_fd};
	struct tm_source source = {.extents = &extent, .count = 1, .pool = pool};
	struct tm_source whole = {.extents = &whole_extent, .count = 1, .pool = pool};
	struct tm_bitmap *which = some_pages(), *differs = tm_bitmap_create(PAGES);
	struct tm_error error;

	CHECK(tm_pages_compare(&source, &whole, which, differs, &error) == TM_SHORT);
	CHECK(error.code == TM_SHORT);
	CHECK(tm_pages_compare(&whole, &source, which, differs, &error) == TM_SHORT);
	tm_bitmap_destroy(which);
	tm_bitmap_destroy(differs);
	close(fd);
	close(whole_fd);
}

static void handles_a_single_page(struct tm_pool *pool)
{
	int fd = numbered_file(1, true);
	struct tm_extent extent = {.count = PAGES, .fd = fd};
	struct tm_source source = {.extents = &extent, .count = 1, .pool = pool};
	struct tm_source nothing = {.pool = pool};
	struct tm_bitmap *which = tm_bitmap_create(PAGES), *differs = tm_bitmap_create(PAGES);
	struct tm_error error;

	CHECK_OK(tm_pages_compare(&source, &nothing, which, differs, &error));
	CHECK(tm_bitmap_count(differs) == 0);
	CHECK(tm_bitmap_set(which, 7, 1) == TM_OK);
	CHECK_OK(tm_pages_compare(&source, &nothing, which, differs, &error));
	CHECK(tm_bitmap_count(differs) == 1 && tm_bitmap_test(differs, 7));
	tm_bitmap_destroy(which);
	tm_bitmap_destroy(differs);
	close(fd);
}

int main(void)
{
	static const unsigned threads[] = {0, 1, 3};

	for (unsigned i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
		struct tm_pool *pool = pool_of(threads[i]);

		does_each_piece_once(pool);
		serves_two_who_ask_at_once(pool);
		does_without_threads_after_a_fork(pool);
		packs_hashes_and_copies_as_one_thread_does(pool);
		finds_each_page_that_differs(pool);
		says_that_a_file_is_short(pool);
		handles_a_single_page(pool);
		tm_pool_destroy(pool);
	}
	has_threads_that_take_no_signals();
	return 0;
}
