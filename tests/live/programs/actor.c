#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "actor.h"

char *const *actor_arguments;

int introduce(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char hello[128];
	int line = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	size_t length = strlen(actor_arguments[1]);

	memcpy(address.sun_path + 1, actor_arguments[1], length); /* an abstract name */
	if (connect(line, (struct sockaddr *)&address,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)) < 0)
		_exit(3);
	snprintf(hello, sizeof(hello), "%s\t%ld\t%ld", name, (long)getpid(), syscall(SYS_gettid));
	send(line, hello, strlen(hello), MSG_NOSIGNAL);
	return line;
}

static int hex_digit(char digit)
{
	return digit <= '9' ? digit - '0' : digit - 'a' + 10;
}

/* Turns hexadecimal digits into bytes, in place. */
static size_t decode(char *word)
{
	size_t size = strlen(word) / 2;

	for (size_t i = 0; i < size; i++)
		word[i] = (char)(hex_digit(word[2 * i]) << 4 | hex_digit(word[2 * i + 1]));
	return size;
}

static void parse(char *text, struct request *request)
{
	char *rest = text;

	while (request->count < MAX_WORDS) {
		char *word = strsep(&rest, "\t");
		int place = request->count;

		if (!word)
			return;
		request->kinds[place] = place ? *word++ : 'v';
		request->words[place] = word;
		request->numbers[place] = (long)word;
		if (request->kinds[place] == 'i')
			request->numbers[place] = strtol(word, NULL, 10);
		if (request->kinds[place] == 'h')
			request->sizes[place] = decode(word);
		request->count++;
	}
}

static long run(struct request *request)
{
	const struct verb *const tables[] = {memory_verbs, process_verbs, kernel_verbs,
					     direct_verbs, across_verbs,  file_verbs,
					     clone_verbs,  ring_verbs};

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		for (const struct verb *verb = tables[i]; verb->name; verb++)
			if (strcmp(verb->name, request->words[0]) == 0)
				return verb->run(request);
	return -ENOSYS;
}

static void answer(const struct request *request, long result)
{
	char text[2 * MAX_TEXT];
	int length = snprintf(text, sizeof(text), "%ld\t%s", result, request->answer);

	for (int i = 1; i < request->count; i++) {
		if (request->kinds[i] != 'h')
			continue;
		text[length++] = '\t';
		for (size_t j = 0; j < request->sizes[i]; j++)
			length +=
				sprintf(text + length, "%02x", (unsigned char)request->words[i][j]);
	}
	send(request->line, text, (size_t)length, MSG_NOSIGNAL);
}

_Noreturn void serve(int line)
{
	char text[MAX_TEXT], more[MAX_TEXT];

	for (;;) {
		struct request request = {.line = line, .answer = more};
		ssize_t size = recv(line, text, sizeof(text) - 1, 0);

		if (size < 0 && errno == EINTR)
			continue;
		if (size <= 0)
			_exit(0);
		text[size] = '\0';
		more[0] = '\0';
		parse(text, &request);
		answer(&request, run(&request));
	}
}

/* Arguments: the name of the test's socket, and the name to introduce oneself by. */
int main(int count, char **arguments)
{
	if (count < 3)
		return 2;
	actor_arguments = arguments;
	serve(introduce(arguments[2]));
}
