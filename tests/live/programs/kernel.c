/* Signals, filters and asynchronous input: what the kernel does on a process's behalf. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "actor.h"

static struct {
	int number;
	int code;
	int pid;
	int value;
} received[64];
static atomic_int received_count;

static void note(int number, siginfo_t *info, void *context)
{
	int place = atomic_fetch_add(&received_count, 1) % 64;

	(void)context;
	received[place].number = number;
	received[place].code = info->si_code;
	received[place].pid = info->si_pid;
	received[place].value = info->si_value.sival_int;
}

/* handle SIGNAL FLAGS: notes each that comes. */
static long handle(struct request *request)
{
	struct sigaction action = {.sa_sigaction = note,
				   .sa_flags = SA_SIGINFO | (int)request->numbers[2]};

	return sigaction((int)request->numbers[1], &action, NULL) < 0 ? -errno : 0;
}

/* signals: those that came: number, code, sender, value. */
static long signals(struct request *request)
{
	int length = 0;

	for (int i = 0; i < received_count && i < 64; i++)
		length += sprintf(request->answer + length, "%s%d %d %d %d", i ? "," : "",
				  received[i].number, received[i].code, received[i].pid,
				  received[i].value);
	return received_count;
}

/* breakpoint: a trap of the program's own, which its own handler must get. */
static long breakpoint(struct request *request)
{
	(void)request;
#if defined(__x86_64__)
	__asm__ volatile("int3");
#elif defined(__aarch64__)
	__asm__ volatile("brk #0");
#endif
	return received_count;
}

static long filter_calls(const struct request *request, unsigned action)
{
	struct sock_filter filter[2 + 2 * MAX_WORDS] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	struct sock_fprog program = {.len = 1, .filter = filter};

	for (int i = 1; i < request->count; i++) {
		filter[program.len++] = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, (unsigned)request->numbers[i], 0, 1);
		filter[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
	}
	filter[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		return -errno;
	return 0;
}

/* forbid CALL...: death to the process that makes one of these system calls in this thread. */
static long forbid(struct request *request)
{
	return filter_calls(request, SECCOMP_RET_KILL_PROCESS);
}

/* deny CALL...: each of these system calls ends with EPERM. */
static long deny(struct request *request)
{
	return filter_calls(request, SECCOMP_RET_ERRNO | EPERM);
}

/* dispatch: Syscall User Dispatch is on, and lets all system calls pass for now. */
static long dispatch(struct request *request)
{
	enum { SET_DISPATCH = 59, ON = 1 };
	static volatile char selector;

	(void)request;
	return prctl(SET_DISPATCH, ON, 0, 0, &selector) < 0 ? -errno : 0;
}

/* drop_vdso: unmaps the vDSO, and has data in its place that looks like a system call. */
static long drop_vdso(struct request *request)
{
	static const char instruction[] = {0x0f, 0x05};
	char *place = (char *)getauxval(AT_SYSINFO_EHDR);
	enum { PAGES = 2 * 4096 };

	(void)request;
	if (munmap(place, PAGES) < 0 ||
	    mmap(place, PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		 0) != place)
		return -errno;
	memcpy(place, instruction, sizeof(instruction));
	return 0;
}

/* protect_itself ADDRESS BYTES: puts its own memory under a userfaultfd of its own. */
static long protect_itself(struct request *request)
{
	struct uffdio_api api = {.api = UFFD_API,
				 .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP |
					     UFFD_FEATURE_WP_HUGETLBFS_SHMEM};
	struct uffdio_register range = {.range = {.start = (unsigned long)request->numbers[1],
						  .len = (unsigned long)request->numbers[2]},
					.mode = UFFDIO_REGISTER_MODE_WP};
	int uffd = (int)syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY);

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) < 0 ||
	    ioctl(uffd, UFFDIO_REGISTER, &range) < 0)
		return -errno;
	return 0;
}

enum { RING_BYTES = 1 << 16, ENTRIES_BYTES = 4096 };

/* An io_uring with room for one request at a time. */
static struct {
	int fd;
	struct io_uring_params params;
	char *ring;
	struct io_uring_sqe *entries;
} uring;

/* uring ADDRESS BYTES: sets up a ring with one registered buffer there, or none for 0 bytes. */
static long uring_setup(struct request *request)
{
	struct iovec buffer = {.iov_base = (void *)request->numbers[1],
			       .iov_len = (size_t)request->numbers[2]};

	uring.fd = (int)syscall(SYS_io_uring_setup, 4, &uring.params);
	if (uring.fd < 0)
		return -errno;
	uring.ring = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, uring.fd,
			  IORING_OFF_SQ_RING);
	uring.entries = mmap(NULL, ENTRIES_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, uring.fd,
			     IORING_OFF_SQES);
	if (uring.ring == MAP_FAILED || uring.entries == MAP_FAILED)
		return -errno;
	/* To other tests' keepers a child that maps a ring, and cannot say which, is one to fear.
	 */
	madvise(uring.ring, RING_BYTES, MADV_DONTFORK);
	madvise(uring.entries, ENTRIES_BYTES, MADV_DONTFORK);
	if (buffer.iov_len &&
	    syscall(SYS_io_uring_register, uring.fd, IORING_REGISTER_BUFFERS, &buffer, 1) < 0)
		return -errno;
	return uring.fd;
}

static unsigned *ring_word(unsigned offset)
{
	return (unsigned *)(uring.ring + offset);
}

/* Has the kernel do one thing: FD ADDRESS BYTES FIXED WAIT as below. */
static long uring_submit(const long *a, unsigned char operation)
{
	unsigned tail = *ring_word(uring.params.sq_off.tail);
	unsigned index = tail & *ring_word(uring.params.sq_off.ring_mask);
	unsigned head = *ring_word(uring.params.cq_off.head);
	struct io_uring_cqe *done = (void *)ring_word(uring.params.cq_off.cqes);

	uring.entries[index] = (struct io_uring_sqe){
		.opcode = operation,
		.flags = a[4] ? 0 : IOSQE_ASYNC,
		.fd = (int)a[0],
		.addr = (unsigned long)a[1],
		.len = (unsigned)a[2],
		.off = (unsigned long long)-1,
	};
	ring_word(uring.params.sq_off.array)[index] = index;
	__atomic_store_n(ring_word(uring.params.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, uring.fd, 1, a[4] ? 1 : 0,
		    a[4] ? IORING_ENTER_GETEVENTS : 0, NULL, 0) < 0)
		return -errno;
	if (!a[4])
		return 0;
	__atomic_store_n(ring_word(uring.params.cq_off.head), head + 1, __ATOMIC_RELEASE);
	return done[head & *ring_word(uring.params.cq_off.ring_mask)].res;
}

/*
 * uring_read FD ADDRESS BYTES FIXED WAIT: reads into memory, through the registered buffer where
 * FIXED is 1. With WAIT the answer is what was read; without, a thread of the kernel's waits.
 */
static long uring_read(struct request *request)
{
	const long *a = request->numbers + 1;

	return uring_submit(a, a[3] ? IORING_OP_READ_FIXED : IORING_OP_READ);
}

/* uring_write FD ADDRESS BYTES FIXED WAIT: the same for output, at the file's position. */
static long uring_write(struct request *request)
{
	const long *a = request->numbers + 1;

	return uring_submit(a, a[3] ? IORING_OP_WRITE_FIXED : IORING_OP_WRITE);
}

/* uring_close: lets go of the ring, and of what is registered with it. */
static long uring_close(struct request *request)
{
	(void)request;
	munmap(uring.ring, RING_BYTES);
	munmap(uring.entries, ENTRIES_BYTES);
	return close(uring.fd) < 0 ? -errno : 0;
}

const struct verb kernel_verbs[] = {
	{"handle", handle},
	{"signals", signals},
	{"breakpoint", breakpoint},
	{"forbid", forbid},
	{"deny", deny},
	{"dispatch", dispatch},
	{"drop_vdso", drop_vdso},
	{"protect_itself", protect_itself},
	{"uring", uring_setup},
	{"uring_read", uring_read},
	{"uring_write", uring_write},
	{"uring_close", uring_close},
	{0},
};
