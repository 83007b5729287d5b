/* Surviving the end of an object that is mapped: a load behind it is SIGBUS. */
#ifndef TM_GUARD_H
#define TM_GUARD_H

#include <setjmp.h>
#include <signal.h>

#include "tidemark.h"

/*
 * Where this thread goes on after a SIGBUS; NULL where that is to end the process. A signal
 * handler can be told in no other way.
 */
extern _Thread_local sigjmp_buf *tm_rescue;

struct tm_guard {
	struct sigaction before;
};

/* Has SIGBUS go to the rescue of the thread that it meets, until tm_guard_end(). */
int tm_guard_begin(struct tm_guard *guard, struct tm_error *error);
void tm_guard_end(const struct tm_guard *guard);

#endif
