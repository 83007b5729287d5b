/* A filter of a program's (seccomp): whatever its instructions are, it comes to a verdict. */
#include <linux/filter.h>
#include <string.h>
#include <sys/syscall.h>

#include "fuzz.h"
#include "internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sock_filter program[4096];
	size_t count = size / sizeof(*program);

	if (count > sizeof(program) / sizeof(*program))
		return 0;
	memcpy(program, data, count * sizeof(*program));
	PROMISE(tm_filter_run(program, count, SYS_mmap) < TM_FILTER_UNKNOWN);
	return 0;
}
