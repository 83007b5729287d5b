/* A line of /proc/PID/maps, in which a program has named its file. */
#include <string.h>

#include "fuzz.h"
#include "internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tm_mapping mapping;
	char *line = malloc(size + 1);

	PROMISE(line);
	memcpy(line, data, size);
	line[size] = '\0';
	memset(&mapping, 0xa5, sizeof(mapping));
	if (tm_mapping_parse(line, &mapping)) {
		PROMISE(memchr(mapping.name, '\0', sizeof(mapping.name)));
		PROMISE(!strchr(mapping.name, '\n'));
	}
	free(line);
	return 0;
}
