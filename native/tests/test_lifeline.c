/* A tracer that dies within a system call of its own: the thread goes on as if nothing had been. */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "internal.h"

enum { SLEPT_WELL = 2, DISTURBED = 3 };

static void sleep_once(unsigned char *memory, struct check_child *child)
{
	struct timespec nap = {.tv_nsec = 400000000};
	long result;

	check_wait_go(child);
	check_done(child);
	result = syscall(SYS_nanosleep, &nap, NULL);
	memory[0] = result == 0 ? SLEPT_WELL : DISTURBED;
	pause();
}

static bool is_within(pid_t pid, long call)
{
	char text[32] = "";
	struct tm_error error;
	int fd;

	CHECK_OK(tm_open_proc(pid, "syscall", 0, &fd, &error));
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return strtol(text, NULL, 10) == call;
}

/* Stops a thread, has it make a call, and tells that it stands behind that. */
static void inject_and_wait(pid_t pid, int told)
{
	const struct tm_call call = {.number = SYS_getpid, .undo = {.number = SYS_getppid}};
	const struct tm_stopped thread = {.pid = pid, .tid = pid};
	struct tm_injection injection;
	struct tm_error error;
	struct tm_event event;
	int64_t result;

	CHECK_OK(tm_tracee_seize(pid, 0, &error));
	CHECK_OK(tm_tracee_interrupt(pid, &error));
	CHECK_OK(tm_tracee_wait(pid, true, &event, &error));
	CHECK_OK(tm_injection_begin(&injection, thread, &error));
	CHECK_OK(tm_injection_call(&injection, &call, &result, &error));
	CHECK(result == pid);
	CHECK(write(told, "", 1) == 1);
	pause();
}

static void a_sleep_goes_on_when_the_tracer_dies_within_a_call(void)
{
	unsigned char *memory = check_share(1);
	struct check_child child;
	int told[2];
	char byte;
	pid_t tracer;

	check_start(&child, sleep_once, memory);
	CHECK(pipe(told) == 0);
	check_go(&child);
	while (!is_within(child.pid, SYS_nanosleep))
		usleep(1000);
	tracer = fork();
	if (tracer == 0) {
		inject_and_wait(child.pid, told[1]);
		_exit(0);
	}
	close(told[1]);
	CHECK(read(told[0], &byte, 1) == 1);
	kill(tracer, SIGKILL);
	CHECK(waitpid(tracer, NULL, 0) == tracer);
	while (memory[0] != SLEPT_WELL && memory[0] != DISTURBED)
		usleep(1000);
	CHECK(memory[0] == SLEPT_WELL);
	close(told[0]);
	check_end(&child);
	munmap(memory, tm_page_size());
}

int main(void)
{
#if defined(__x86_64__)
	a_sleep_goes_on_when_the_tracer_dies_within_a_call();
	return 0;
#else
	puts("skipped: there is no lifeline on this architecture");
	(void)a_sleep_goes_on_when_the_tracer_dies_within_a_call;
	return 0;
#endif
}
