/*
 * Threads that share the work of a call with the thread that makes it.
 *
 * Nobody waits for a thread to wake up: one that comes late finds that nothing is left. In a child
 * after fork(2) there are none, and a lock may be held for ever by one that is not there: the child
 * works alone, and asks for no lock.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "internal.h"
#include "pool.h"

struct tm_pool {
	pid_t maker;		/* the process whose threads they are */
	pthread_mutex_t asking; /* held by who has work to share */
	unsigned size;		/* threads that there may be */
	bool started;
	unsigned count;	      /* threads that there are */
	int asker;	      /* the processor that the threads keep off, -1 for none */
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	void (*work)(void *context); /* NULL when there is none */
	void *context;
	uint64_t round; /* goes up with each work */
	unsigned working;
	bool closing;
	pthread_t threads[];
};

int tm_pool_create(unsigned threads, struct tm_pool **ret, struct tm_error *error)
{
	struct tm_pool *pool = calloc(1, sizeof(*pool) + threads * sizeof(pool->threads[0]));

	if (!pool)
		return tm_fail(error, TM_MEMORY, "make a pool of threads");
	pool->maker = getpid();
	pool->size = threads;
	pool->asker = -1;
	pthread_mutex_init(&pool->asking, NULL);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->changed, NULL);
	*ret = pool;
	return TM_OK;
}

void tm_pool_destroy(struct tm_pool *pool)
{
	if (!pool)
		return;
	if (pool->maker != getpid()) {
		free(pool);
		return;
	}
	pthread_mutex_lock(&pool->lock);
	pool->closing = true;
	pthread_cond_broadcast(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->count; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->changed);
	pthread_mutex_destroy(&pool->lock);
	pthread_mutex_destroy(&pool->asking);
	free(pool);
}

static void *help(void *argument)
{
	struct tm_pool *pool = argument;
	uint64_t seen = 0;

	pthread_mutex_lock(&pool->lock);
	while (!pool->closing) {
		void (*work)(void *) = pool->round == seen ? NULL : pool->work;
		void *context = pool->context;

		seen = pool->round;
		if (!work) {
			pthread_cond_wait(&pool->changed, &pool->lock);
			continue;
		}
		pool->working++;
		pthread_mutex_unlock(&pool->lock);
		work(context);
		pthread_mutex_lock(&pool->lock);
		pool->working--;
		pthread_cond_broadcast(&pool->changed);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* Starts the threads when they are needed first. Where there are fewer, the others do more. */
static void start(struct tm_pool *pool)
{
	sigset_t all, before;

	if (pool->started)
		return;
	pool->started = true;
	/* The process's signals are for the threads that wait for them. */
	sigfillset(&all);
	sigdelset(&all, SIGBUS); /* of its own doing: while it is blocked it kills the process */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (pool->count < pool->size &&
	       pthread_create(&pool->threads[pool->count], NULL, help, pool) == 0)
		pool->count++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/*
 * Keeps the threads off the processor that this one is on. In a virtual machine the scheduler can
 * take an idle processor for one that the host has taken away (vcpu_is_preempted()), and then
 * leaves whom we wake up on ours.
 */
static void keep_off(struct tm_pool *pool)
{
	cpu_set_t allowed;
	int here = sched_getcpu();

	if (here < 0 || here == pool->asker || sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		return;
	CPU_CLR(here, &allowed);
	pool->asker = here;
	if (CPU_COUNT(&allowed))
		for (unsigned i = 0; i < pool->count; i++)
			pthread_setaffinity_np(pool->threads[i], sizeof(allowed), &allowed);
}

static void give(struct tm_pool *pool, void (*work)(void *context), void *context)
{
	pthread_mutex_lock(&pool->lock);
	pool->work = work;
	pool->context = context;
	pool->round++;
	pthread_cond_broadcast(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
}

static void take_back(struct tm_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->work = NULL;
	while (pool->working)
		pthread_cond_wait(&pool->changed, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
}

void tm_pool_share(struct tm_pool *pool, void (*work)(void *context), void *context)
{
	if (!pool || pool->size == 0 || pool->maker != getpid() ||
	    pthread_mutex_trylock(&pool->asking) != 0) {
		work(context);
		return;
	}
	start(pool);
	keep_off(pool);
	give(pool, work, context);
	work(context);
	take_back(pool);
	pthread_mutex_unlock(&pool->asking);
}
