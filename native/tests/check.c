#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

unsigned char *check_share(size_t pages)
{
	size_t size = pages * tm_page_size();
	unsigned char *memory =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	for (size_t page = 0; page < pages; page++)
		memory[page * tm_page_size()] = 1;
	return memory;
}

void check_start(struct check_child *child, check_body *body, unsigned char *memory)
{
	CHECK(pipe(child->go) == 0 && pipe(child->done) == 0);
	child->pid = fork();
	CHECK(child->pid >= 0);
	if (child->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		body(memory, child);
		_exit(0);
	}
}

void check_wait_go(struct check_child *child)
{
	char byte;

	if (read(child->go[0], &byte, 1) != 1)
		_exit(1);
}

void check_done(struct check_child *child)
{
	if (write(child->done[1], "", 1) != 1)
		_exit(1);
}

void check_go(struct check_child *child)
{
	char byte;

	CHECK(write(child->go[1], "", 1) == 1);
	CHECK(read(child->done[0], &byte, 1) == 1);
}

void check_stop(pid_t pid)
{
	struct tm_error error;
	struct tm_event event;

	CHECK_OK(tm_tracee_seize(pid, TM_SEIZE_FOLLOW | TM_SEIZE_KILL_WITH_TRACER, &error));
	CHECK_OK(tm_tracee_interrupt(pid, &error));
	CHECK_OK(tm_tracee_wait(pid, true, &event, &error));
	CHECK(event.kind == TM_EVENT_STOPPED && event.tid == pid && event.signal == 0);
}

struct tm_stopped check_stopped(pid_t pid)
{
	return (struct tm_stopped){
		.pid = pid, .tid = pid, .options = TM_SEIZE_FOLLOW | TM_SEIZE_KILL_WITH_TRACER};
}

struct tm_notice check_notice(struct tm_space *space)
{
	struct pollfd poll_for = {.fd = tm_space_descriptor(space), .events = POLLIN};
	struct tm_notice notice;
	struct tm_error error;

	CHECK(poll(&poll_for, 1, 10000) == 1);
	CHECK_OK(tm_space_notice(space, &notice, &error));
	return notice;
}

void check_end(struct check_child *child)
{
	struct tm_error ignored;

	kill(child->pid, SIGKILL);
	for (int status = 0; waitpid(child->pid, &status, __WALL) == child->pid;) {
		if (WIFEXITED(status) || WIFSIGNALED(status))
			break;
		tm_tracee_continue(child->pid, 0, &ignored); /* from its last stop */
	}
	for (int i = 0; i < 2; i++) {
		close(child->go[i]);
		close(child->done[i]);
	}
}
