/*
 * target KIND: a program that watches itself. Each of its loops stores to shared memory, counts in
 * `progress`, and ends the program with a message as soon as anything is not as it should be: a
 * sum, the result of a system call, the mask of its signals, a signal that nobody sent.
 *
 * A wait for events without a time limit may be interrupted when the keeper dies in the instant in
 * which it stops it, as Linux does it after SIGSTOP; how often that was is counted behind
 * `progress`.
 *
 * Kinds: plain, threads, filtered (all other system calls are death, restart_syscall(2) among
 * them), denied (a filter that refuses userfaultfd(2)), forking, spinning (no system calls), served
 * (a thread reads into memory that another one of it provides by userfaultfd, some time later: when
 * that one is stopped first, the reader cannot stop).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 66, LOOPS = 8, ROUNDS = 20000 };

static volatile uint64_t *progress; /* of each loop, in shared memory */
static unsigned char *pages;
static sigset_t mask;

static void wrong(const char *what)
{
	char line[128];
	int size = snprintf(line, sizeof(line), "wrong: %s (errno %d)\n", what, errno);

	if (write(STDERR_FILENO, line, (size_t)size) < 0)
		_exit(3);
	_exit(2);
}

static void on_signal(int number)
{
	errno = number;
	wrong("a signal that nobody has sent");
}

/* Adds up with all general registers in use, and some of the others. */
static void compute(int loop)
{
	volatile double fraction = 0;
	uint64_t a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, sum = 0;

	for (uint64_t i = 0; i < ROUNDS; i++) {
		a += i, b += 2 * i, c += 3 * i, d += 4 * i, e += 5 * i, f += 6 * i;
		__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
		fraction += 0.5;
	}
	sum = a + b + c + d + e + f;
	if (sum != 21 + 21ULL * ROUNDS * (ROUNDS - 1) / 2 || fraction != ROUNDS / 2)
		wrong("a sum");
	pages[(size_t)(loop + (int)(progress[loop] % 7) * LOOPS) * PAGE] =
		(unsigned char)progress[loop];
	progress[loop]++;
}

static void nap(void)
{
	struct timespec time = {.tv_nsec = 2000000};

	if (clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL) != 0)
		wrong("a sleep");
}

static void check_mask(void)
{
	sigset_t now;

	if (sigprocmask(SIG_BLOCK, NULL, &now) < 0 || memcmp(&now, &mask, 8) != 0)
		wrong("the mask of signals");
}

static void work(int loop)
{
	for (;;) {
		compute(loop);
		nap();
		check_mask();
	}
}

static void *waker(void *events)
{
	for (;;) {
		uint64_t one = 1;

		nap();
		if (write(*(int *)events, &one, sizeof(one)) != sizeof(one))
			wrong("a write");
	}
	return NULL;
}

/* Waits without a time limit, for what comes every 2 ms. */
static void *waiter(void *loop)
{
	int events = eventfd(0, 0), poll = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN};
	pthread_t thread;
	uint64_t count;

	if (epoll_ctl(poll, EPOLL_CTL_ADD, events, &event) < 0 ||
	    pthread_create(&thread, NULL, waker, &events) != 0)
		wrong("set up");
	for (;;) {
		while (epoll_wait(poll, &event, 1, -1) != 1) {
			if (errno != EINTR)
				wrong("epoll_wait");
			__atomic_add_fetch(&progress[LOOPS], 1, __ATOMIC_RELAXED);
		}
		if (read(events, &count, sizeof(count)) != sizeof(count))
			wrong("a read");
		compute((int)(intptr_t)loop);
	}
	return NULL;
}

static void *worker(void *loop)
{
	work((int)(intptr_t)loop);
	return NULL;
}

static void run_threads(void)
{
	pthread_t thread;

	for (intptr_t i = 1; i < LOOPS; i++)
		if (pthread_create(&thread, NULL, i % 2 ? worker : waiter, (void *)i) != 0)
			wrong("set up");
	work(0);
}

static void set_filter(const int *calls, int count, unsigned others, unsigned action)
{
	struct sock_filter filter[64] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	struct sock_fprog program = {.len = 1, .filter = filter};

	for (int i = 0; i < count; i++) {
		filter[program.len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
								     (unsigned)calls[i], 0, 1);
		filter[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
	}
	filter[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, others);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		wrong("set a filter");
}

static void run_filtered(void)
{
	static const int allowed[] = {SYS_clock_nanosleep, SYS_write, SYS_exit_group};

	set_filter(allowed, 3, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW);
	for (;;) {
		compute(0);
		nap();
	}
}

static void run_denied(void)
{
	static const int denied[] = {SYS_userfaultfd};

	set_filter(denied, 1, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | EPERM);
	work(0);
}

static void run_forking(void)
{
	for (;;) {
		int status;
		pid_t child = fork();

		if (child == 0) {
			compute(1);
			_exit(7);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
		    WEXITSTATUS(status) != 7)
			wrong("a child");
		compute(0);
		nap();
	}
}

static void run_spinning(void)
{
	for (;;)
		compute(0);
}

static int faults;

static void *provider(void *unused)
{
	static char page[PAGE] __attribute__((aligned(PAGE)));
	struct uffd_msg message;

	for (;;) {
		struct uffdio_copy copy = {.src = (uintptr_t)page, .len = PAGE};

		if (read(faults, &message, sizeof(message)) != sizeof(message))
			continue;
		nap();
		copy.dst = message.arg.pagefault.address & -(uint64_t)PAGE;
		/* A thread that a signal wakes up asks once more for the same. */
		if (ioctl(faults, UFFDIO_COPY, &copy) < 0 && errno != EEXIST)
			wrong("to provide memory");
	}
	return unused;
}

/* Reads from a pipe into memory that is not there yet, again and again. */
static void *reader(void *late)
{
	int channel[2];
	char bytes[64] = "";

	if (pipe(channel) < 0)
		wrong("set up");
	for (;;) {
		if (write(channel[1], bytes, sizeof(bytes)) != sizeof(bytes) ||
		    read(channel[0], late, sizeof(bytes)) != sizeof(bytes))
			wrong("a read into memory that is provided");
		madvise(late, PAGE, MADV_DONTNEED);
		progress[1]++;
	}
	return NULL;
}

static void run_served(void)
{
	void *late = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register range = {{(uintptr_t)late, PAGE}, UFFDIO_REGISTER_MODE_MISSING, 0};
	struct uffdio_api api = {.api = UFFD_API};
	pthread_t thread;

	faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (late == MAP_FAILED || faults < 0 || ioctl(faults, UFFDIO_API, &api) < 0 ||
	    ioctl(faults, UFFDIO_REGISTER, &range) < 0 ||
	    pthread_create(&thread, NULL, provider, NULL) != 0 ||
	    pthread_create(&thread, NULL, reader, late) != 0)
		wrong("set up");
	work(0);
}

static void run_plain(void)
{
	work(0);
}

int main(int count, char **words)
{
	static const struct {
		const char *name;
		int loops;
		void (*run)(void);
	} kinds[] = {
		{"plain", 1, run_plain},       {"threads", LOOPS, run_threads},
		{"filtered", 1, run_filtered}, {"denied", 1, run_denied},
		{"forking", 2, run_forking},   {"spinning", 1, run_spinning},
		{"served", 2, run_served},
	};

	pages = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (count != 2 || pages == MAP_FAILED)
		return 1;
	memset(pages, 1, PAGES * PAGE);
	memset(pages, 0, PAGE);
	progress = (volatile uint64_t *)pages;
	pages += PAGE;
	for (int number = 1; number < NSIG; number++)
		if (number != SIGCHLD && number != SIGTERM && number != SIGCONT)
			signal(number, on_signal);
	sigprocmask(SIG_BLOCK, NULL, &mask);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(words[1], kinds[i].name) == 0) {
			printf("%lu %d\n", (unsigned long)progress, kinds[i].loops);
			fflush(stdout);
			kinds[i].run();
		}
	return 1;
}
