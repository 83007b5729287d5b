/* What a pool of threads does for the files of the native library. */
#ifndef TM_POOL_H
#define TM_POOL_H

#include "tidemark.h"

/*
 * Runs `work` in this thread, and besides in each thread of the pool that wakes up before it has
 * ended here; returns when all have ended. So `work` takes piece after piece of what is to be
 * done, until nothing is left. It must not ask the pool itself.
 */
void tm_pool_share(struct tm_pool *pool, void (*work)(void *context), void *context);

#endif
