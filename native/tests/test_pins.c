/* Pages that the kernel holds for somebody are counted. */
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"

static int skip(const char *why)
{
	printf("skipped: %s\n", why);
	return 0;
}

int main(void)
{
	struct io_uring_params params = {0};
	struct iovec buffer = {.iov_len = tm_page_size()};
	struct tm_error error;
	bool outstanding = false;
	int ring = (int)syscall(SYS_io_uring_setup, 4, &params);

	if (ring < 0)
		return skip("the kernel has no io_uring");
	if (tm_pins_outstanding(&outstanding, &error) == TM_FORBIDDEN)
		return skip("only root may ask for the kernel's counts");
	buffer.iov_base = mmap(NULL, buffer.iov_len, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(buffer.iov_base != MAP_FAILED);
	CHECK(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1) == 0);
	CHECK_OK(tm_pins_outstanding(&outstanding, &error));
	CHECK(outstanding);
	close(ring);
	return 0;
}
