/*
 * A program without a will of its own: each of its processes and threads has a line to the
 * test, and does what it is told there. So a test says exactly what happens in an epoch.
 *
 * A message is words with tabs between them: a verb, then arguments that begin with `i` (a
 * number), `s` (a text) or `h` (bytes in hexadecimal, handed over by their address). The answer
 * is a number, negative for an errno, and the bytes of each `h` as they are after the call.
 */
#ifndef ACTOR_H
#define ACTOR_H

#include <stddef.h>

enum { MAX_WORDS = 12, MAX_TEXT = 8192 };

struct request {
	int line;
	int count;
	char kinds[MAX_WORDS];
	char *words[MAX_WORDS];
	long numbers[MAX_WORDS]; /* or the address of a text or of bytes */
	size_t sizes[MAX_WORDS]; /* of bytes */
	char *answer;		 /* more text for the answer, MAX_TEXT bytes */
};

typedef long command(struct request *request);

struct verb {
	const char *name;
	command *run;
};

/* Ended by an entry without a name. */
extern const struct verb memory_verbs[];
extern const struct verb process_verbs[];
extern const struct verb kernel_verbs[];
extern const struct verb direct_verbs[];
extern const struct verb across_verbs[];
extern const struct verb file_verbs[];
extern const struct verb clone_verbs[];
extern const struct verb ring_verbs[];

/* Opens a line to the test under a name; ends the process where there is no test any more. */
int introduce(const char *name);
/* Does what is said on a line, until the test hangs up; never returns. */
_Noreturn void serve(int line);

extern char *const *actor_arguments;

#endif
