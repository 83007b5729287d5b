/*
 * tidemark-watchdog DIRECTORY SECONDS PROGRAM [WORD...]: runs a keeper, and sees to it that no
 * workload stands because the keeper hangs.
 *
 * A thread that stands under ptrace, or waits for its userfaultfd to be read, runs on when the
 * keeper has ended, and not before. So where the workload has stood for SECONDS, or the keeper has
 * not looked for so long (at least 5 s) who waits for it, the keeper is killed. It need not do
 * anything for that: it may be stopped, or in an endless loop. To look, it is woken by a bell (an
 * eventfd) of which it knows nothing but that it is to be read.
 *
 * What is counted is the time in which this process has run, too: when all of the machine is
 * stopped for a while, nobody is killed for that.
 *
 * How a keeper ended that has not said so itself is written to keeper.log and keeper.end in
 * DIRECTORY. The exit code is the keeper's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "watchdog.h"

enum { LONGEST_TICK = 250, SHORTEST_SILENCE = 5000, CANNOT_RUN = 127 };
enum { SHORTEST_LIMIT = 100, LONGEST_LIMIT = 1000000000 }; /* in milliseconds, as all of these */
enum { TICKS = 16, BELL_TICKS = 4 }; /* within the limit, at least; so long silent until it rings */

struct watch {
	struct tm_watched *page;
	int bell;
	int directory;
	pid_t keeper;
	unsigned limit, tick; /* in milliseconds */
	uint64_t looked;      /* as it was last seen to change */
	uint64_t standing;    /* the same */
	unsigned silent_ms;   /* since then */
	unsigned stood_ms;
	bool killed;
};

/* Write a line to keeper.log, which is our standard error, and to keeper.end. */
__attribute__((format(printf, 2, 3))) static void tell_end(const struct watch *watch,
							   const char *format, ...)
{
	char said[256];
	va_list arguments;
	int end;

	va_start(arguments, format);
	int length = vsnprintf(said, sizeof(said) - 1, format, arguments);
	va_end(arguments);
	if (length < 0 || (size_t)length >= sizeof(said) - 1)
		length = sizeof(said) - 2;
	dprintf(STDERR_FILENO, "the keeper (process %d) has ended: %s\n", watch->keeper, said);
	end = openat(watch->directory, "keeper.end",
		     O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (end >= 0) {
		said[length] = '\n';
		if (write(end, said, (size_t)length + 1) < 0)
			dprintf(STDERR_FILENO, "keeper.end: %s\n", strerror(errno));
		close(end);
	}
}

/* Kill the keeper: who is stopped by it, or waits for it, runs on. */
static void let_run(struct watch *watch, const char *why, unsigned milliseconds)
{
	if (watch->killed)
		return;
	watch->killed = true;
	tell_end(watch, "%s for %g s, so it was killed, and the workload runs on", why,
		 milliseconds / 1000.0);
	kill(watch->keeper, SIGKILL);
}

/* Look after a tick at what the keeper has done since the last one. */
static void look(struct watch *watch, unsigned passed_ms)
{
	uint64_t looked = atomic_load(&watch->page->looked);
	uint64_t standing = atomic_load(&watch->page->standing);
	const unsigned silence = watch->limit > SHORTEST_SILENCE ? watch->limit : SHORTEST_SILENCE;
	const uint64_t ring = 1;

	/* Nobody waits for it before it has looked for the first time. */
	watch->silent_ms = looked && looked == watch->looked ? watch->silent_ms + passed_ms : 0;
	watch->stood_ms = standing && standing == watch->standing ? watch->stood_ms + passed_ms : 0;
	watch->looked = looked;
	watch->standing = standing;
	if (watch->silent_ms >= BELL_TICKS * watch->tick &&
	    write(watch->bell, &ring, sizeof(ring)) < 0 && errno != EAGAIN)
		dprintf(STDERR_FILENO, "the watchdog cannot ring: %s\n", strerror(errno));
	if (watch->stood_ms >= watch->limit)
		let_run(watch, "the workload has stood", watch->limit);
	else if (!standing && watch->silent_ms >= silence)
		let_run(watch, "the keeper did not look who waits for it", silence);
}

/* Show no words but our own: the others are the keeper's, and would be taken for it (pgrep -f). */
static void forget_words(char **words)
{
	for (int index = 3; words[index]; index++)
		memset(words[index], 0, strlen(words[index]));
}

/* Wait for a tick or for the keeper's end; return how much of the time counts. */
static unsigned wait_a_tick(unsigned milliseconds)
{
	const struct timespec tick = {.tv_nsec = milliseconds * 1000000L};
	sigset_t ended;

	sigemptyset(&ended);
	sigaddset(&ended, SIGCHLD);
	return sigtimedwait(&ended, NULL, &tick) < 0 && errno == EAGAIN ? milliseconds : 0;
}

/* Watch until the keeper has ended; return its exit code, as a shell would. */
static int watch_it(struct watch *watch)
{
	struct stat ignored;
	int status;

	for (;;) {
		pid_t ended = waitpid(watch->keeper, &status, WNOHANG);

		if (ended < 0 && errno != EINTR)
			return CANNOT_RUN;
		if (ended == watch->keeper)
			break;
		look(watch, wait_a_tick(watch->tick));
	}
	if (WIFSIGNALED(status)) {
		if (!watch->killed)
			tell_end(watch, "it was killed by signal %d (%s)", WTERMSIG(status),
				 strsignal(WTERMSIG(status)));
		return 128 + WTERMSIG(status);
	}
	if (WEXITSTATUS(status) != 0 && fstatat(watch->directory, "keeper.end", &ignored, 0) != 0)
		tell_end(watch, "it ended with code %d, and has not said why", WEXITSTATUS(status));
	return WEXITSTATUS(status);
}

/* Become the keeper: in a session of its own, with the signals as they were. */
static void become_keeper(const struct watch *watch, int page, char **words, const sigset_t *mask)
{
	char value[64];

	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	sigprocmask(SIG_SETMASK, mask, NULL);
	snprintf(value, sizeof(value), "%d,%d", page, watch->bell);
	if (setsid() < 0 || setenv(TM_WATCHDOG_VARIABLE, value, 1) != 0 ||
	    fcntl(page, F_SETFD, 0) < 0 || fcntl(watch->bell, F_SETFD, 0) < 0)
		_exit(CANNOT_RUN);
	execv(words[0], words);
	dprintf(STDERR_FILENO, "%s cannot be executed: %s\n", words[0], strerror(errno));
	_exit(CANNOT_RUN);
}

/* Close all descriptors but the standard streams and two: who reads the others waits for their end.
 */
static void close_all_but(int one, int other)
{
	unsigned low = (unsigned)(one < other ? one : other);
	unsigned high = (unsigned)(one < other ? other : one);

	close_range(STDERR_FILENO + 1, low - 1,
		    0); /* refused, as it should be, where that is none */
	close_range(low + 1, high - 1, 0);
	close_range(high + 1, ~0U, 0);
}

/* Start the keeper, and keep none of the streams that are for it. */
static bool start(struct watch *watch, int page, char **words)
{
	sigset_t block, before;
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

	sigemptyset(&block);
	sigaddset(&block, SIGCHLD);
	sigprocmask(SIG_BLOCK, &block, &before);
	/* What ends a batch job is sent to all of its processes: this one ends with the keeper. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	watch->keeper = fork();
	if (watch->keeper == 0)
		become_keeper(watch, page, words, &before);
	if (watch->keeper < 0 || nothing < 0)
		return false;
	dup2(nothing, STDIN_FILENO);
	dup2(nothing, STDOUT_FILENO);
	close_all_but(watch->directory, watch->bell);
	return true;
}

/* How long a workload may stand, in milliseconds, for a number of seconds in words. */
static unsigned limit_of(const char *words)
{
	const double milliseconds = atof(words) * 1000;

	if (!(milliseconds > SHORTEST_LIMIT))
		return SHORTEST_LIMIT;
	return milliseconds < LONGEST_LIMIT ? (unsigned)milliseconds : LONGEST_LIMIT;
}

/* Make what is shared with the keeper; return the descriptor of the page, or -1. */
static int prepare(struct watch *watch, const char *directory)
{
	int page = memfd_create("tidemark-watched", MFD_CLOEXEC);

	watch->directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	watch->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (watch->directory < 0 || watch->bell < 0 || page < 0 ||
	    ftruncate(page, sizeof(struct tm_watched)) != 0)
		return -1;
	watch->page = mmap(NULL, sizeof(struct tm_watched), PROT_READ, MAP_SHARED, page, 0);
	return watch->page == MAP_FAILED ? -1 : page;
}

int main(int count, char **words)
{
	struct watch watch = {0};
	int page;

	if (count < 4) {
		dprintf(STDERR_FILENO, "usage: %s DIRECTORY SECONDS PROGRAM [WORD...]\n", words[0]);
		return CANNOT_RUN;
	}
	watch.limit = limit_of(words[2]);
	watch.tick = watch.limit / TICKS < LONGEST_TICK ? watch.limit / TICKS : LONGEST_TICK;
	page = prepare(&watch, words[1]);
	if (page < 0 || !start(&watch, page, words + 3)) {
		dprintf(STDERR_FILENO, "the watchdog cannot run: %s\n", strerror(errno));
		return CANNOT_RUN;
	}
	forget_words(words);
	return watch_it(&watch);
}
