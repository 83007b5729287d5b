/* Requests to the kernel about processes and files that Python has no call for. */
#define _GNU_SOURCE
#include <linux/kcmp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

int tm_process_die_with_parent(int signal, struct tm_error *error)
{
	if (prctl(PR_SET_PDEATHSIG, signal) < 0)
		return tm_fail(error, TM_SYSTEM, "PR_SET_PDEATHSIG");
	return TM_OK;
}

int tm_file_forget_access(int fd, struct tm_error *error)
{
	const struct timespec times[2] = {{.tv_sec = 0}, {.tv_nsec = UTIME_OMIT}};

	if (futimens(fd, times) < 0)
		return tm_fail_on(error, 0, "reset the access time");
	return TM_OK;
}

int tm_process_adopt_orphans(struct tm_error *error)
{
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return tm_fail(error, TM_SYSTEM, "PR_SET_CHILD_SUBREAPER");
	return TM_OK;
}

int tm_process_same_space(int pid, int other, bool *ret, struct tm_error *error)
{
	long order = syscall(SYS_kcmp, pid, other, KCMP_VM, 0, 0);

	if (order < 0)
		return tm_fail_on(error, pid, "kcmp");
	*ret = order == 0;
	return TM_OK;
}
