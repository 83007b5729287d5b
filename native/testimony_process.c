/*
 * tidemark-testimony: has the kernel count what is done to shared memory, for the process at the
 * other end of its standard input, until that one ends.
 */
#include <unistd.h>

#include "tidemark.h"

int main(void)
{
	if (fork() != 0) /* who started us need not wait for our end */
		return 0;
	tm_testimony_serve(STDIN_FILENO);
	return 0;
}
