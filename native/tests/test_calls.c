/* Threads that sleep in calls that leave pages alone are told from all others. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_alg.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

typedef void sleeper(int descriptor);

static void poll_for_ever(int descriptor)
{
	struct pollfd one = {.fd = descriptor, .events = POLLIN};

	for (;;)
		poll(&one, 1, -1);
}

static void read_for_ever(int descriptor)
{
	char byte;

	for (;;)
		if (read(descriptor, &byte, 1) < 0 && errno != EINTR)
			_exit(1);
}

static void receive_for_ever(int descriptor)
{
	char byte;

	for (;;)
		recv(descriptor, &byte, 1, 0);
}

static void spin(int descriptor)
{
	(void)descriptor;
	for (volatile long i = 0;; i++)
		;
}

static void lock_for_ever(int descriptor)
{
	(void)descriptor;
	for (;;) /* no call of the list, as F_SETLKW would be */
		prctl(PR_SET_NAME, "busy");
}

/* Whether a process that does this may pin; asked until it is as `expected`, for a while. */
static void expect(sleeper *work, int descriptor, bool expected)
{
	const struct timespec pause = {.tv_nsec = 2000000};
	struct tm_error error;
	bool pins = !expected;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		work(descriptor);
	}
	for (int i = 0; i < 2000 && pins != expected; i++) {
		CHECK_OK(tm_thread_may_pin(pid, &pins, &error));
		nanosleep(&pause, NULL);
	}
	CHECK(pins == expected);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK(tm_thread_may_pin(pid, &pins, &error) == TM_GONE);
}

/* A socket of the kernel's ciphers, which pins the pages that are to be received into. */
static int cipher(void)
{
	struct sockaddr_alg address = {
		.salg_family = AF_ALG, .salg_type = "hash", .salg_name = "sha256"};
	int made = socket(AF_ALG, SOCK_SEQPACKET, 0), accepted = -1;

	if (made >= 0 && bind(made, (struct sockaddr *)&address, sizeof(address)) == 0)
		accepted = accept(made, NULL, NULL);
	return accepted;
}

int main(void)
{
	int ends[2], pair[2], ciphers = cipher();

	CHECK(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	expect(poll_for_ever, ends[0], false);
	expect(read_for_ever, ends[0], false);
	expect(receive_for_ever, pair[0], false);
	expect(spin, -1, true);
	expect(lock_for_ever, -1, true);
	if (ciphers >= 0)
		expect(receive_for_ever, ciphers, true);
	return 0;
}
