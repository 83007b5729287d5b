/* Surviving the end of an object that is mapped: a load behind it is SIGBUS. */
#define _GNU_SOURCE
#include "guard.h"
#include "internal.h"

_Thread_local sigjmp_buf *tm_rescue;

static void on_bus(int number)
{
	if (tm_rescue)
		siglongjmp(*tm_rescue, 1);
	signal(number, SIG_DFL);
	raise(number);
}

int tm_guard_begin(struct tm_guard *guard, struct tm_error *error)
{
	/* NODEFER: whoever jumps out of the handler need not put a signal mask back. */
	const struct sigaction ours = {.sa_handler = on_bus, .sa_flags = SA_NODEFER};

	if (sigaction(SIGBUS, &ours, &guard->before) != 0)
		return tm_fail(error, TM_SYSTEM, "guard against the end of an object");
	return TM_OK;
}

void tm_guard_end(const struct tm_guard *guard)
{
	sigaction(SIGBUS, &guard->before, NULL);
}
