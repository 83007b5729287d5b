/*
 * A 32-bit program without a library. Its first word of shared memory is counted up, the second
 * counts sleeps that were interrupted, and the third those waits for events without a time limit
 * of its child that have ended.
 */
enum { MMAP2 = 192, FORK = 2, NANOSLEEP = 162, EPOLL_CREATE1 = 329, EPOLL_WAIT = 256, WRITE = 4 };
enum { SHARED_ANONYMOUS = 0x21, READ_WRITE = 3, BYTES = 65536 };

static long call(long number, long a, long b, long c, long d, long e)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "memory");
	return result;
}

void _start(void)
{
	volatile int *words = (int *)call(MMAP2, 0, BYTES, READ_WRITE, SHARED_ANONYMOUS, -1);
	long poll = call(EPOLL_CREATE1, 0, 0, 0, 0, 0);
	int time[2] = {0, 5000000};
	char events[16];

	words[0] = 1;
	if (call(FORK, 0, 0, 0, 0, 0) == 0)
		for (;;) {
			call(EPOLL_WAIT, poll, (long)events, 1, -1, 0);
			words[2]++;
		}
	call(WRITE, 1, (long)"ready\n", 6, 0, 0);
	for (;;) {
		words[0]++;
		if (call(NANOSLEEP, (long)time, 0, 0, 0, 0))
			words[1]++;
	}
}
