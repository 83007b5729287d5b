/*
 * tidemark-step SCRIPT [WORD...]: does what `python SCRIPT WORD...` does, without the start of a
 * Python where that can be spared.
 *
 * To start one and to load what a step needs takes about 100 ms, and the step itself some 10. So
 * the first step of a run starts a fork server (tidemark.steps.forkserver) beside itself, and
 * those that come when it listens have it fork: for the words, the environment, the directory and
 * the streams of this process, which then stands for that child. Its signals are handed on, and
 * its end is the child's.
 *
 * The server is found by TIDEMARK_FORKSERVER, an abstract socket's name (unix(7)). Where it
 * cannot be reached, or nothing is set, this process becomes the Python.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* What is sent, with the descriptors of streams and directory; then come the words and the
 * environment, each ended by a zero. The answers are three int32_t: any, when the server is ready
 * to take them, for descriptors that wait in a socket could be of any file, to whoever looks for
 * those who can write it; the child's pid; and, when it has ended, its status as of wait(2). */
struct request {
	uint32_t size;	/* of what comes after, in bytes */
	uint32_t words; /* how many of the strings are words */
};

enum { STREAMS = 3, DESCRIPTORS };

extern char **environ;

static _Noreturn void become_python(char **words)
{
	words[0] = "python";
	execvp(words[0], words);
	fprintf(stderr, "tidemark-step: python: %s\n", strerror(errno));
	exit(127);
}

/* Returns a socket, and in `ret` the address of a server; -1 where that cannot be. */
static int find(const char *name, struct sockaddr_un *ret, socklen_t *ret_size)
{
	size_t length = strlen(name);

	if (length >= sizeof(ret->sun_path))
		return -1;
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret->sun_path + 1, name, length);
	*ret_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/*
 * Starts a server and does not wait for it; nothing where another process does. Who comes from now
 * on waits until it has loaded. It keeps none of our streams, since somebody may wait for their
 * end.
 */
static void start_server(const char *name)
{
	struct sockaddr_un address;
	socklen_t size;
	int null, fd = find(name, &address, &size);

	if (fd < 0)
		return;
	if (bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 64) == 0 &&
	    fork() == 0) {
		null = open("/dev/null", O_RDWR);
		dup2(fd, STREAMS);
		fcntl(STREAMS, F_SETFD, 0); /* where it was the same */
		for (int stream = 0; stream < STREAMS; stream++)
			dup2(null, stream);
		syscall(SYS_close_range, STREAMS + 1, ~0U, 0);
		execlp("python", "python", "-P", "-m", "tidemark.steps.forkserver", NULL);
		_exit(127);
	}
	close(fd);
}

/* Returns a connection to a server of this user's, or -1. */
static int connect_server(const char *name)
{
	struct sockaddr_un address;
	struct ucred peer;
	socklen_t size, credentials = sizeof(peer);
	int fd = find(name, &address, &size);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, size) == 0 &&
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &credentials) == 0 &&
	    peer.uid == geteuid())
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static size_t write_strings(char *at, char **strings)
{
	size_t size = 0;

	for (; *strings; strings++) {
		size_t length = strlen(*strings) + 1;

		if (at)
			memcpy(at + size, *strings, length);
		size += length;
	}
	return size;
}

static bool send_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

		if (sent < 0)
			return false;
		data += sent;
		size -= (size_t)sent;
	}
	return true;
}

static bool send_descriptors(int fd, struct request request, int directory)
{
	int descriptors[DESCRIPTORS] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, directory};
	char control[CMSG_SPACE(sizeof(descriptors))] = {0};
	struct iovec data = {.iov_base = &request, .iov_len = sizeof(request)};
	struct msghdr message = {.msg_iov = &data,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(descriptors));
	memcpy(CMSG_DATA(header), descriptors, sizeof(descriptors));
	return sendmsg(fd, &message, MSG_NOSIGNAL) == sizeof(request);
}

/* Asks for a child that does what `words` say; false where it could not be asked in full. */
static bool ask(int fd, char **words)
{
	struct request request = {0};
	int directory = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	size_t first = write_strings(NULL, words), size = first + write_strings(NULL, environ);
	char *strings = malloc(size);
	bool asked;

	while (words[request.words])
		request.words++;
	request.size = (uint32_t)size;
	asked = directory >= 0 && strings && size <= UINT32_MAX;
	if (asked) {
		write_strings(strings, words);
		write_strings(strings + first, environ);
		asked = send_descriptors(fd, request, directory) && send_all(fd, strings, size);
	}
	free(strings);
	close(directory);
	return asked;
}

static bool hear(int fd, int32_t *answer)
{
	return recv(fd, answer, sizeof(*answer), MSG_WAITALL) == sizeof(*answer);
}

/* Hands signals on to the child until it has ended; returns its status. */
static int stand_for(pid_t child, int fd, int signals, const char *script)
{
	int32_t status;
	struct pollfd waiting[] = {{.fd = fd, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
	struct signalfd_siginfo came;

	for (;;) {
		if (poll(waiting, 2, -1) < 0)
			continue;
		if (waiting[0].revents && hear(fd, &status))
			return status;
		if (waiting[0].revents) {
			fprintf(stderr,
				"tidemark: error: the fork server ended before %s did; run again\n",
				script);
			exit(1);
		}
		/* What the terminal sends it sends to the child as well. */
		if (read(signals, &came, sizeof(came)) == sizeof(came) &&
		    came.ssi_code != SI_KERNEL)
			kill(child, (int)came.ssi_signo);
	}
}

static _Noreturn void end_as(int status, const sigset_t *signals)
{
	if (WIFSIGNALED(status)) {
		signal(WTERMSIG(status), SIG_DFL);
		sigprocmask(SIG_UNBLOCK, signals, NULL);
		raise(WTERMSIG(status));
	}
	exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
	const char *name = getenv("TIDEMARK_FORKSERVER");
	sigset_t signals;
	int32_t ready, child;
	int fd;

	if (argc < 2) {
		fprintf(stderr, "usage: tidemark-step SCRIPT [WORD...]\n");
		return 2;
	}
	if (!name || !*name)
		become_python(argv);
	fd = connect_server(name);
	if (fd < 0) {
		start_server(name);
		become_python(argv);
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (!hear(fd, &ready) || !ask(fd, argv + 1) || !hear(fd, &child)) { /* there is no child */
		sigprocmask(SIG_UNBLOCK, &signals, NULL);
		become_python(argv);
	}
	end_as(stand_for(child, fd, signalfd(-1, &signals, SFD_CLOEXEC), argv[1]), &signals);
}
