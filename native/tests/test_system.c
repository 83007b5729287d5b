/* Reading and writing to the end, where the end comes early. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "internal.h"

static void wait_for_end(unsigned char *memory, struct check_child *child)
{
	(void)memory;
	check_wait_go(child);
}

/* Nothing is taken, and there is no error: asked again and again, it would be so for ever. */
static void writes_to_ended_process_end(void)
{
	static char word[8] = "nothing";
	struct check_child child;
	struct tm_error error;
	int memory;

	check_start(&child, wait_for_end, NULL);
	CHECK_OK(tm_open_proc(child.pid, "mem", O_RDWR, &memory, &error));
	CHECK_OK(tm_pwrite_all(memory, word, sizeof(word), (uint64_t)word, &error));
	check_end(&child);
	CHECK(tm_pwrite_all(memory, word, sizeof(word), (uint64_t)word, &error) == TM_SHORT);
	CHECK(tm_pread_all(memory, word, sizeof(word), (uint64_t)word, &error) == TM_SHORT);
	close(memory);
}

/* The line of the groups is before most others, and longer than any buffer that would do else. */
static void fields_are_found_behind_many_groups(void)
{
	static gid_t groups[20000];
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		for (unsigned i = 0; i < sizeof(groups) / sizeof(*groups); i++)
			groups[i] = 1000000 + i;
		if (setgroups(sizeof(groups) / sizeof(*groups), groups) < 0)
			_exit(errno == EPERM ? 0 : 1); /* root only */
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
			_exit(2);
		_exit(tm_status_number(getpid(), "NoNewPrivs") == 1 &&
				      tm_status_number(getpid(), "Pid") == getpid()
			      ? 0
			      : 3);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK(tm_status_number(getpid(), "NoSuchField") == 0);
}

int main(void)
{
	fields_are_found_behind_many_groups();
	writes_to_ended_process_end();
	return 0;
}
