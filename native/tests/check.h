/* What the native tests share: checks that name their place, and processes to try things on. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

#include "tidemark.h"

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s: failed: %s\n", __FILE__, __LINE__, __func__,   \
				#condition);                                                       \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* A call that must succeed; `error` is the caller's struct tm_error. */
#define CHECK_OK(call)                                                                             \
	do {                                                                                       \
		if ((call) != TM_OK) {                                                             \
			fprintf(stderr, "%s:%d: %s: %s: code %d, errno %d: %s\n", __FILE__,        \
				__LINE__, __func__, #call, error.code, error.sys_errno,            \
				error.what);                                                       \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* Anonymous memory shared with the children of this process, every page stored to. */
unsigned char *check_share(size_t pages);

/*
 * A child that runs `body(memory, pipe)` and then exits. `pipe` reads a byte for every
 * check_go(); each check_go() waits until the child has reported back with check_done().
 */
struct check_child {
	pid_t pid;
	int go[2];
	int done[2];
};

typedef void check_body(unsigned char *memory, struct check_child *child);

void check_start(struct check_child *child, check_body *body, unsigned char *memory);
void check_go(struct check_child *child);
void check_wait_go(struct check_child *child);
void check_done(struct check_child *child);
/* Seizes the child and waits until it stands. */
void check_stop(pid_t pid);
/* The first thread of a child that check_stop() was called for. */
struct tm_stopped check_stopped(pid_t pid);
/* Waits for the next notice of a space. */
struct tm_notice check_notice(struct tm_space *space);
/* Kills the child and waits for its end. */
void check_end(struct check_child *child);

#endif
