/*
 * Whether shared memory was changed by other means than a store to an existing mapping, as the
 * kernel itself testifies: programs that it runs at the entry and the exit of all functions that
 * do so count, by object, in memory that we share with it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "testimony.h"

/* An object when it was looked at last. */
struct base {
	struct tm_object_key key;
	uint64_t entered;
	uint64_t doubts;
	uint32_t users; /* regions that it stands for: none, and the place is free */
	bool known;	/* it was looked at */
	bool quiet;	/* and nothing was under way */
};

struct tm_testimony {
	int socket; /* to the process that holds the links, which ends when it is closed */
	bool ready;
	bool huge; /* huge pages of hugetlbfs are counted, too */
	struct tm_testimony_maps maps;
	int programs[TM_TESTIMONY_PROGRAMS];
	size_t count; /* of the programs */
	struct tm_tally_area *area;
	int file; /* of our own, of which all is counted */
	struct tm_trial trial;
	uint64_t doubts; /* grows when something may not have been counted */
	uint64_t misses; /* of all programs */
	bool deaf;	 /* when it was tried last, the kernel did not count */
	uint32_t next;	 /* where to look for a free place: the one that is free for longest */
	uint32_t end;	 /* of the places that were ever used */
	struct base bases[TM_TESTIMONY_OBJECTS];
};

/* The key by which the programs know what is behind `fd`; TM_UNSUPPORTED if they do not. */
static int key_of(const struct tm_testimony *testimony, int fd, struct tm_object_key *ret,
		  struct tm_error *error)
{
	struct statfs file_system;
	struct stat status;

	if (fstat(fd, &status) < 0 || fstatfs(fd, &file_system) < 0)
		return tm_fail(error, TM_SYSTEM, "look at an object");
	if (file_system.f_type != TMPFS_MAGIC &&
	    !(file_system.f_type == HUGETLBFS_MAGIC && testimony->huge))
		return tm_fail(error, TM_UNSUPPORTED, "the object is no shared memory");
	ret->device = ((uint64_t)major(status.st_dev) << 20) | minor(status.st_dev);
	ret->inode = status.st_ino;
	return TM_OK;
}

static int enter(struct tm_testimony *testimony, uint64_t place, struct tm_error *error)
{
	union bpf_attr update = {0};

	update.map_fd = (uint32_t)testimony->maps.objects;
	update.key = (uintptr_t)&testimony->bases[place].key;
	update.value = (uintptr_t)&place;
	return tm_bpf(BPF_MAP_UPDATE_ELEM, &update) < 0
		       ? tm_fail(error, TM_SYSTEM, "enter an object in a BPF map")
		       : TM_OK;
}

/*
 * Has the kernel count what we do to a file of our own, and so learns which process we are to
 * it: we may be in a PID namespace.
 */
static int begin_trial(struct tm_testimony *testimony, struct tm_error *error)
{
	struct tm_tally *tally = testimony->area->tallies;
	int code;

	testimony->file = memfd_create("tidemark", MFD_CLOEXEC);
	if (testimony->file < 0)
		return tm_fail(error, TM_SYSTEM, "make a file to try things on");
	code = key_of(testimony, testimony->file, &testimony->bases[0].key, error);
	if (code == TM_OK)
		code = enter(testimony, 0, error);
	if (code == TM_OK)
		code = tm_testimony_try(testimony->file, tally, &testimony->trial, error);
	if (code != TM_OK)
		return code;
	if (tally->left != tally->entered || !tally->who)
		return tm_fail(error, TM_UNSUPPORTED, "the kernel does not count what has ended");
	testimony->bases[0].users = 1;
	__atomic_store_n(&testimony->area->self, tally->who, __ATOMIC_SEQ_CST);
	return TM_OK;
}

/* Becomes the process that holds the links; the socket is its standard input. */
static _Noreturn void become_server(const char *program)
{
	char name[] = "tidemark-testimony";
	char *words[] = {name, NULL}, *environment[] = {NULL};

	if (program)
		execve(program, words, environment);
	else if (fork() == 0)
		tm_testimony_serve(STDIN_FILENO);
	else
		_exit(0);
	_exit(127);
}

/* Makes a child that becomes the process that holds the links, and leaves us at once. */
static pid_t start_child(const char *program, int socket)
{
	sigset_t all, before;
	pid_t child;

	/* A handler of ours must not run in the child, which may have our memory. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	child = program ? vfork() : fork();
	if (child == 0) {
		/* A signal to our group of processes is not for it; and it ends when we do. */
		setsid();
		if (dup2(socket, STDIN_FILENO) == STDIN_FILENO && close_range(1, UINT_MAX, 0) == 0)
			become_server(program);
		_exit(127);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return child;
}

static int start(const char *program, int socket, struct tm_error *error)
{
	pid_t child = start_child(program, socket);
	int status;

	if (child < 0)
		return tm_fail(error, TM_SYSTEM, "start tidemark-testimony");
	while (waitpid(child, &status, __WALL) < 0) {
		if (errno != EINTR)
			return tm_fail(error, TM_SYSTEM, "wait for tidemark-testimony");
	}
	return status ? tm_fail(error, TM_STATE, "tidemark-testimony cannot be started") : TM_OK;
}

int tm_testimony_open(const char *program, struct tm_testimony **ret, struct tm_error *error)
{
	struct tm_testimony *testimony = calloc(1, sizeof(*testimony));
	TM_CLEANUP(tm_close) int other = -1;
	int sockets[2];
	int code;

	*ret = NULL;
	if (!testimony)
		return tm_fail(error, TM_MEMORY, "have the kernel testify");
	testimony->socket = testimony->maps.objects = testimony->maps.area = testimony->file = -1;
	testimony->area = MAP_FAILED;
	testimony->next = 1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
		code = tm_fail(error, TM_SYSTEM, "have the kernel testify");
	} else {
		testimony->socket = sockets[0];
		other = sockets[1];
		code = start(program, other, error);
	}
	if (code != TM_OK) {
		tm_testimony_close(testimony);
		return code;
	}
	*ret = testimony;
	return TM_OK;
}

/* Takes the descriptors that came with an answer. */
static void take_descriptors(struct tm_testimony *testimony, struct msghdr *message)
{
	struct cmsghdr *head = CMSG_FIRSTHDR(message);
	int descriptors[TM_TESTIMONY_PROGRAMS + 2];
	size_t count;

	if (!head || head->cmsg_type != SCM_RIGHTS || head->cmsg_len < CMSG_LEN(2 * sizeof(int)))
		return;
	count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(descriptors, CMSG_DATA(head), count * sizeof(int));
	testimony->maps = (struct tm_testimony_maps){descriptors[0], descriptors[1]};
	testimony->count = count - 2;
	memcpy(testimony->programs, descriptors + 2, testimony->count * sizeof(int));
}

/* Receives the answer; without `wait` *ret is false as long as there is none. */
static int receive(struct tm_testimony *testimony, bool wait, bool *ret, struct tm_error *error)
{
	struct tm_testimony_answer said;
	char room[CMSG_SPACE((TM_TESTIMONY_PROGRAMS + 2) * sizeof(int))];
	struct iovec content = {&said, sizeof(said)};
	struct msghdr message = {.msg_iov = &content,
				 .msg_iovlen = 1,
				 .msg_control = room,
				 .msg_controllen = sizeof(room)};
	int flags = MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT);
	ssize_t got;

	do {
		got = recvmsg(testimony->socket, &message, flags);
	} while (got < 0 && errno == EINTR);
	*ret = got >= 0 || errno != EAGAIN;
	if (!*ret)
		return TM_OK;
	if (got != sizeof(said))
		return tm_fail(error, TM_STATE, "tidemark-testimony ended before it answered");
	take_descriptors(testimony, &message);
	testimony->huge = said.huge;
	if (said.error.code != TM_OK) {
		*error = said.error;
		return said.error.code;
	}
	return testimony->count == said.programs
		       ? TM_OK
		       : tm_fail(error, TM_SYSTEM, "receive the BPF programs");
}

int tm_testimony_ready(struct tm_testimony *testimony, bool wait, bool *ret, struct tm_error *error)
{
	int code;

	*ret = testimony->ready;
	if (testimony->ready)
		return TM_OK;
	code = receive(testimony, wait, ret, error);
	if (code != TM_OK || !*ret)
		return code;
	testimony->area = mmap(NULL, sizeof(struct tm_tally_area), PROT_READ | PROT_WRITE,
			       MAP_SHARED, testimony->maps.area, 0);
	if (testimony->area == MAP_FAILED)
		return tm_fail(error, TM_UNSUPPORTED, "map a BPF map");
	code = begin_trial(testimony, error);
	testimony->ready = *ret = code == TM_OK;
	return code;
}

void tm_testimony_close(struct tm_testimony *testimony)
{
	if (!testimony)
		return;
	for (size_t i = 0; i < testimony->count; i++)
		tm_close(&testimony->programs[i]);
	tm_close(&testimony->file);
	if (testimony->area != MAP_FAILED)
		munmap(testimony->area, sizeof(*testimony->area));
	tm_close(&testimony->maps.area);
	tm_close(&testimony->maps.objects);
	tm_close(&testimony->socket);
	free(testimony);
}

/*
 * What has ended is read first. Then, where both are the same, all that had been entered when
 * the second was read had ended when the first was.
 */
static void read_tally(const struct tm_tally *tally, uint64_t *ret_entered, uint64_t *ret_left)
{
	*ret_left = __atomic_load_n(&tally->left, __ATOMIC_SEQ_CST);
	*ret_entered = __atomic_load_n(&tally->entered, __ATOMIC_SEQ_CST);
}

/* A place that nobody uses and where nothing is under way; 0 for none. */
static uint32_t find_place(const struct tm_testimony *testimony)
{
	for (uint32_t i = 0; i < TM_TESTIMONY_OBJECTS; i++) {
		uint32_t place = (testimony->next + i) % TM_TESTIMONY_OBJECTS;
		const struct tm_tally *tally = &testimony->area->tallies[place];
		uint64_t entered, left;

		read_tally(tally, &entered, &left);
		if (place && !testimony->bases[place].users && entered == left && !tally->taken)
			return place;
	}
	return 0;
}

int tm_testimony_add(struct tm_testimony *testimony, int fd, uint32_t *ret, struct tm_error *error)
{
	struct tm_object_key key;
	int code;

	if (!testimony->ready)
		return tm_fail(error, TM_STATE, "the kernel does not count yet");
	code = key_of(testimony, fd, &key, error);
	if (code != TM_OK)
		return code;
	for (uint32_t i = 1; i < testimony->end; i++) {
		struct base *base = &testimony->bases[i];

		if (base->users && base->key.device == key.device && base->key.inode == key.inode) {
			base->users++;
			*ret = i;
			return TM_OK;
		}
	}
	*ret = find_place(testimony);
	if (!*ret)
		return tm_fail(error, TM_BOUNDS, "watch more than %d objects",
			       TM_TESTIMONY_OBJECTS - 1);
	testimony->bases[*ret] = (struct base){.key = key};
	code = enter(testimony, *ret, error);
	if (code == TM_OK) {
		testimony->bases[*ret].users = 1;
		testimony->next = *ret + 1;
		if (testimony->end <= *ret)
			testimony->end = *ret + 1;
	}
	return code;
}

int tm_testimony_remove(struct tm_testimony *testimony, uint32_t object, struct tm_error *error)
{
	union bpf_attr remove = {0};
	struct base *base;

	if (object == 0 || object >= TM_TESTIMONY_OBJECTS || !testimony->bases[object].users)
		return tm_fail(error, TM_BOUNDS, "no object %u is watched", object);
	base = &testimony->bases[object];
	if (--base->users)
		return TM_OK;
	remove.map_fd = (uint32_t)testimony->maps.objects;
	remove.key = (uintptr_t)&base->key;
	return tm_bpf(BPF_MAP_DELETE_ELEM, &remove) < 0
		       ? tm_fail(error, TM_SYSTEM, "remove an object from a BPF map")
		       : TM_OK;
}

/* Finds out whether all has been counted since this was last asked; doubts grow where not. */
static int listen_again(struct tm_testimony *testimony, struct tm_error *error)
{
	struct tm_trial trial = {0};
	uint64_t misses = 0;
	int code;
	bool deaf;

	/*
	 * The superuser can switch all of it off (sysctl kernel.ftrace_enabled), and the process
	 * that holds the links can be killed.
	 */
	code = tm_testimony_try(testimony->file, testimony->area->tallies, &trial, error);
	deaf = code != TM_OK || trial.entered != testimony->trial.entered ||
	       trial.left != testimony->trial.left;
	for (size_t i = 0; i < testimony->count; i++) {
		uint64_t missed = 0;

		if (tm_bpf_misses(testimony->programs[i], &missed, error) != TM_OK)
			deaf = true;
		misses += missed;
	}
	if (deaf || testimony->deaf || misses != testimony->misses)
		testimony->doubts++;
	testimony->deaf = deaf;
	testimony->misses = misses;
	if (deaf && code == TM_OK)
		code = tm_fail(error, TM_STATE, "the kernel does not count all any more");
	return code;
}

/* Judges one object since it was looked at last. */
static int judge(const struct tm_testimony *testimony, uint32_t object, uint64_t entered,
		 uint64_t left)
{
	const struct base *base = &testimony->bases[object];
	uint64_t taken = __atomic_load_n(&testimony->area->tallies[object].taken, __ATOMIC_SEQ_CST);

	if (!base->known)
		return TM_TESTIMONY_UNKNOWN;
	if (entered != base->entered || !base->quiet || left != entered || taken)
		return TM_TESTIMONY_TOUCHED;
	return base->doubts == testimony->doubts ? TM_TESTIMONY_UNTOUCHED : TM_TESTIMONY_UNKNOWN;
}

int tm_testimony_look(struct tm_testimony *testimony, const uint32_t *objects, size_t count,
		      unsigned char *ret, struct tm_error *error)
{
	int code;

	if (!testimony->ready)
		return tm_fail(error, TM_STATE, "the kernel does not count yet");
	for (size_t i = 0; i < count; i++) {
		if (objects[i] == 0 || objects[i] >= TM_TESTIMONY_OBJECTS ||
		    !testimony->bases[objects[i]].users)
			return tm_fail(error, TM_BOUNDS, "no object %u is watched", objects[i]);
	}
	code = listen_again(testimony, error);
	for (size_t i = 0; i < count; i++) {
		struct base *base = &testimony->bases[objects[i]];
		uint64_t entered, left;

		read_tally(&testimony->area->tallies[objects[i]], &entered, &left);
		ret[i] = (unsigned char)judge(testimony, objects[i], entered, left);
		base->entered = entered;
		base->quiet = left == entered;
		base->known = true;
		base->doubts = testimony->doubts;
	}
	return code;
}
