/* Gives each file of the directories that are named to a harness: a corpus as a regular test. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "fuzz.h"

/* Tries one file; returns whether it is one. */
static int replay(int directory, const char *name)
{
	static uint8_t room[1 << 20];
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, room, sizeof(room));
	uint8_t *data;

	close(fd);
	if (size < 0)
		return 0;
	data = malloc((size_t)size + 1); /* of its own, so that a step beyond its end is seen */
	PROMISE(data);
	for (ssize_t i = 0; i < size; i++)
		data[i] = room[i];
	LLVMFuzzerTestOneInput(data, (size_t)size);
	free(data);
	return 1;
}

int main(int argc, char **argv)
{
	int tried = 0;

	for (int i = 1; i < argc; i++) {
		DIR *directory = opendir(argv[i]);
		const struct dirent *entry;

		PROMISE(directory);
		while ((entry = readdir(directory)))
			tried += replay(dirfd(directory), entry->d_name);
		closedir(directory);
	}
	printf("%d inputs\n", tried);
	return tried ? 0 : 1;
}
