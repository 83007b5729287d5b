/* The kernel's testimony: what is done to shared memory other than by a store is told. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static int make_memfd(void)
{
	int fd = memfd_create("tested", MFD_CLOEXEC);

	CHECK(fd >= 0 && ftruncate(fd, (off_t)(4 * tm_page_size())) == 0);
	return fd;
}

/* The program that was built with this one; NULL where there is only this one. */
static const char *server_program(void)
{
	return access(TESTIMONY_PROGRAM, X_OK) == 0 ? TESTIMONY_PROGRAM : NULL;
}

static struct tm_testimony *open_ready(void)
{
	struct tm_testimony *testimony;
	struct tm_error error;
	bool ready;

	CHECK_OK(tm_testimony_open(server_program(), &testimony, &error));
	CHECK_OK(tm_testimony_ready(testimony, true, &ready, &error));
	CHECK(ready);
	return testimony;
}

static uint32_t add(struct tm_testimony *testimony, int fd)
{
	uint32_t object;
	struct tm_error error;

	CHECK_OK(tm_testimony_add(testimony, fd, &object, &error));
	return object;
}

static int look(struct tm_testimony *testimony, uint32_t object)
{
	unsigned char verdict;
	struct tm_error error;

	CHECK_OK(tm_testimony_look(testimony, &object, 1, &verdict, &error));
	return verdict;
}

typedef void deed(int fd);

static void in_child(deed *go, int fd)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		go(fd);
		_exit(0);
	}
	CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static void do_nothing(int fd)
{
	CHECK(lseek(fd, 0, SEEK_SET) == 0);
}

static void read_it(int fd)
{
	char byte;
	void *memory = mmap(NULL, 1, PROT_READ, MAP_PRIVATE, fd, 0);

	CHECK(memory != MAP_FAILED && pread(fd, &byte, 1, 0) == 1);
}

static void write_vector(int fd)
{
	struct iovec parts[] = {{"ab", 2}, {"c", 1}};

	CHECK(pwritev(fd, parts, 2, 10) == 3);
}

static void send_file(int fd)
{
	int source = make_memfd();

	CHECK(lseek(fd, 0, SEEK_SET) == 0 && sendfile(fd, source, NULL, 100) == 100);
}

static void copy_range(int fd)
{
	loff_t from = 0, to = (loff_t)tm_page_size();

	CHECK(copy_file_range(make_memfd(), &from, fd, &to, 100, 0) == 100);
}

/* A descriptor that comes by a socket, is used, and goes back. */
static void write_received(int fd)
{
	char room[CMSG_SPACE(sizeof(int))] = {0}, byte = 1;
	struct iovec content = {&byte, 1};
	struct msghdr message = {NULL, 0, &content, 1, room, sizeof(room), 0};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	int ends[2], received;

	head->cmsg_len = CMSG_LEN(sizeof(int));
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && sendmsg(ends[0], &message, 0) == 1);
	close(fd);
	CHECK(recvmsg(ends[1], &message, 0) == 1);
	memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(received));
	CHECK(pwrite(received, "x", 1, 0) == 1 && sendmsg(ends[1], &message, 0) == 1);
	close(received);
}

static void remove_pages(int fd)
{
	void *memory = mmap(NULL, tm_page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(memory != MAP_FAILED && madvise(memory, tm_page_size(), MADV_REMOVE) == 0);
}

static void map_for_another(int fd)
{
	char path[64];
	int anew;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	anew = open(path, O_RDWR | O_NOATIME);
	CHECK(mmap(NULL, 1, PROT_WRITE, MAP_SHARED, anew, 0) != MAP_FAILED);
}

/* A descriptor of what a mapping of ours shows. */
static int open_mapped(const char *memory)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)memory,
		 (unsigned long)memory + tm_page_size());
	return open(path, O_RDWR | O_CLOEXEC);
}

static void who_attaches_a_segment_is_told(void)
{
	struct tm_testimony *testimony = open_ready();
	int segment = shmget(IPC_PRIVATE, tm_page_size(), IPC_CREAT | 0600);
	char *memory = shmat(segment, NULL, 0);
	int fd = open_mapped(memory);
	uint32_t object = add(testimony, fd);
	pid_t child;

	look(testimony, object);
	memory[0] = 1;
	CHECK(look(testimony, object) == TM_TESTIMONY_UNTOUCHED);
	child = fork();
	if (child == 0)
		_exit(shmat(segment, NULL, 0) == (void *)-1);
	CHECK(child > 0 && waitpid(child, NULL, 0) == child);
	CHECK(look(testimony, object) == TM_TESTIMONY_TOUCHED);
	CHECK(shmdt(memory) == 0 && shmctl(segment, IPC_RMID, NULL) == 0);
	tm_testimony_close(testimony);
	close(fd);
}

static void each_thing_that_is_done_is_told(void)
{
	static deed *const deeds[] = {write_vector,   send_file,    copy_range,
				      write_received, remove_pages, map_for_another};
	static deed *const harmless[] = {do_nothing, read_it};
	struct tm_testimony *testimony = open_ready();
	int fd = make_memfd(), other = make_memfd();
	uint32_t object = add(testimony, fd), second = add(testimony, other);

	CHECK(look(testimony, object) == TM_TESTIMONY_UNKNOWN);
	CHECK(look(testimony, second) == TM_TESTIMONY_UNKNOWN);
	for (size_t i = 0; i < sizeof(deeds) / sizeof(*deeds); i++) {
		in_child(deeds[i], fd);
		CHECK(look(testimony, object) == TM_TESTIMONY_TOUCHED);
		CHECK(look(testimony, object) == TM_TESTIMONY_UNTOUCHED);
	}
	for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++) {
		in_child(harmless[i], fd);
		CHECK(look(testimony, object) == TM_TESTIMONY_UNTOUCHED);
	}
	CHECK(look(testimony, second) == TM_TESTIMONY_UNTOUCHED);
	CHECK(pwrite(fd, "x", 1, 0) == 1); /* our own is not counted */
	CHECK(look(testimony, object) == TM_TESTIMONY_UNTOUCHED);
	tm_testimony_close(testimony);
	close(fd);
	close(other);
}

enum { FAULTS = 200 }; /* the number of the slow writer's userfaultfd */

/* Writes from a page that somebody else has to bring, by a userfaultfd, and stands until then. */
static void write_slowly(int fd, int ready)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register area = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	char *page = mmap((void *)0x700000000000, tm_page_size(), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	area.range.start = (uintptr_t)page;
	area.range.len = tm_page_size();
	CHECK(faults >= 0 && ioctl(faults, UFFDIO_API, &api) == 0);
	CHECK(ioctl(faults, UFFDIO_REGISTER, &area) == 0 && dup2(faults, FAULTS) == FAULTS);
	CHECK(write(ready, "r", 1) == 1 && pwrite(fd, page, 10, 0) == 10);
}

static void what_is_under_way_when_it_is_looked_at_counts_before_and_after(void)
{
	struct tm_testimony *testimony = open_ready();
	struct uffdio_copy copy = {.dst = 0x700000000000, .len = tm_page_size()};
	unsigned char *source = check_share(1);
	char byte;
	int fd = make_memfd(), ready[2], faults, status;
	uint32_t object = add(testimony, fd);
	struct uffd_msg message;
	pid_t child;

	look(testimony, object);
	CHECK(pipe(ready) == 0);
	child = fork();
	if (child == 0) {
		write_slowly(fd, ready[1]);
		_exit(0);
	}
	CHECK(child > 0 && read(ready[0], &byte, 1) == 1);
	faults = (int)syscall(SYS_pidfd_getfd, (int)syscall(SYS_pidfd_open, child, 0), FAULTS, 0);
	CHECK(faults >= 0 && read(faults, &message, sizeof(message)) == sizeof(message));
	CHECK(look(testimony, object) == TM_TESTIMONY_TOUCHED);
	CHECK(look(testimony, object) == TM_TESTIMONY_TOUCHED); /* it stands all the time */
	copy.src = (uintptr_t)source;
	CHECK(ioctl(faults, UFFDIO_COPY, &copy) == 0);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(look(testimony, object) == TM_TESTIMONY_TOUCHED);
	CHECK(look(testimony, object) == TM_TESTIMONY_UNTOUCHED);
	tm_testimony_close(testimony);
	close(fd);
}

static void write_byte(int fd)
{
	CHECK(pwrite(fd, "y", 1, 0) == 1);
}

static void several_can_watch_the_same_object(void)
{
	struct tm_testimony *first = open_ready(), *second = open_ready();
	int fd = make_memfd();
	uint32_t in_first = add(first, fd), in_second = add(second, fd);
	struct tm_error error;

	CHECK(add(first, fd) == in_first); /* a second user of the same */
	look(first, in_first);
	look(second, in_second);
	CHECK_OK(tm_testimony_remove(first, in_first, &error));
	in_child(write_byte, fd);
	CHECK(look(first, in_first) == TM_TESTIMONY_TOUCHED);
	CHECK(look(second, in_second) == TM_TESTIMONY_TOUCHED);
	tm_testimony_close(first);
	in_child(write_byte, fd);
	CHECK(look(second, in_second) == TM_TESTIMONY_TOUCHED);
	CHECK(look(second, in_second) == TM_TESTIMONY_UNTOUCHED);
	tm_testimony_close(second);
	close(fd);
}

static void what_cannot_be_watched_is_refused(void)
{
	static int fds[TM_TESTIMONY_OBJECTS];
	struct rlimit limit = {2 * TM_TESTIMONY_OBJECTS, 2 * TM_TESTIMONY_OBJECTS};
	struct tm_testimony *testimony = open_ready();
	int other = open("/proc/version", O_RDONLY);
	struct tm_error error;
	uint32_t object;
	unsigned char verdict;

	CHECK(tm_testimony_add(testimony, other, &object, &error) == TM_UNSUPPORTED);
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	for (uint32_t i = 1; i < TM_TESTIMONY_OBJECTS; i++)
		object = add(testimony, fds[i] = make_memfd());
	fds[0] = make_memfd();
	CHECK(tm_testimony_add(testimony, fds[0], &object, &error) == TM_BOUNDS);
	CHECK_OK(tm_testimony_remove(testimony, 5, &error));
	CHECK(tm_testimony_remove(testimony, 5, &error) == TM_BOUNDS);
	object = 5;
	CHECK(tm_testimony_look(testimony, &object, 1, &verdict, &error) == TM_BOUNDS);
	CHECK(add(testimony, fds[0]) == 5);
	CHECK(look(testimony, 5) == TM_TESTIMONY_UNKNOWN);
	in_child(write_byte, fds[5]);
	CHECK(look(testimony, 5) == TM_TESTIMONY_UNTOUCHED);
	in_child(write_byte, fds[0]);
	CHECK(look(testimony, 5) == TM_TESTIMONY_TOUCHED);
	tm_testimony_close(testimony);
	for (size_t i = 0; i < TM_TESTIMONY_OBJECTS; i++)
		close(fds[i]);
	close(other);
}

/* The process that holds the links; it is ours, since we adopt orphans. */
static pid_t server_of_ours(void)
{
	char path[64], line[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	file = fopen(path, "r");
	CHECK(file && fgets(line, sizeof(line), file));
	fclose(file);
	return atoi(line);
}

static void nothing_is_known_when_the_kernel_counts_no_more(void)
{
	struct tm_testimony *testimony;
	int fd = make_memfd(), verdict = TM_TESTIMONY_UNTOUCHED;
	struct tm_error error;
	uint32_t object;
	unsigned char said;
	pid_t server;

	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	testimony = open_ready();
	object = add(testimony, fd);
	look(testimony, object);
	CHECK(look(testimony, object) == TM_TESTIMONY_UNTOUCHED);
	server = server_of_ours();
	CHECK(kill(server, SIGKILL) == 0 && waitpid(server, NULL, 0) == server);
	in_child(write_byte, fd);
	CHECK(tm_testimony_look(testimony, &object, 1, &said, &error) != TM_OK);
	CHECK(said == TM_TESTIMONY_UNKNOWN);
	verdict = tm_testimony_look(testimony, &object, 1, &said, &error);
	CHECK(verdict != TM_OK && said == TM_TESTIMONY_UNKNOWN);
	tm_testimony_close(testimony);
	close(fd);
}

/* How many of our programs the kernel has. */
static int loaded_programs(void)
{
	union bpf_attr next = {0};
	int count = 0;

	while (syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, &next, sizeof(next)) == 0) {
		struct bpf_prog_info info = {0};
		union bpf_attr by_number = {0}, ask = {0};
		int fd;

		next.start_id = by_number.prog_id = next.next_id;
		fd = (int)syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &by_number, sizeof(by_number));
		ask.info.bpf_fd = (uint32_t)fd;
		ask.info.info_len = sizeof(info);
		ask.info.info = (uintptr_t)&info;
		if (fd >= 0 && syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &ask, sizeof(ask)) == 0)
			count += strcmp(info.name, "tidemark") == 0;
		if (fd >= 0)
			close(fd);
	}
	return count;
}

/* Waits until the kernel has none of our programs, of whomever: a keeper may run beside us. */
static bool all_go(void)
{
	for (int tenths = 0; tenths < 600 && loaded_programs() > 0; tenths++)
		nanosleep(&(struct timespec){0, 100000000}, NULL);
	return loaded_programs() == 0;
}

static void nothing_is_left_behind_by_who_is_killed(void)
{
	int ready[2];
	char byte;
	pid_t child;

	CHECK(pipe(ready) == 0);
	child = fork();
	if (child == 0) {
		open_ready();
		CHECK(write(ready[1], "r", 1) == 1);
		pause();
	}
	CHECK(child > 0 && read(ready[0], &byte, 1) == 1 && loaded_programs() > 0);
	CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
	CHECK(all_go());
}

static void a_program_that_is_not_there_is_told(void)
{
	struct tm_testimony *testimony;
	struct tm_error error;

	CHECK(tm_testimony_open("/nonexistent", &testimony, &error) == TM_STATE && !testimony);
}

int main(void)
{
	struct tm_error error;

	a_program_that_is_not_there_is_told();
	if (tm_probe(TM_FEATURE_TESTIMONY, &error) != TM_OK) {
		printf("skipped: the kernel does not testify: %s\n", error.what);
		return 0;
	}
	each_thing_that_is_done_is_told();
	who_attaches_a_segment_is_told();
	what_is_under_way_when_it_is_looked_at_counts_before_and_after();
	several_can_watch_the_same_object();
	what_cannot_be_watched_is_refused();
	nothing_is_known_when_the_kernel_counts_no_more();
	nothing_is_left_behind_by_who_is_killed();
	return 0;
}
