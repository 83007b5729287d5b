/* Reading and writing to the end, where the end comes early. */
#include <fcntl.h>
#include <unistd.h>

#include "check.h"
#include "internal.h"

static void wait_for_end(unsigned char *memory, struct check_child *child)
{
	(void)memory;
	check_wait_go(child);
}

/* Nothing is taken, and there is no error: asked again and again, it would be so for ever. */
static void writes_to_ended_process_end(void)
{
	static char word[8] = "nothing";
	struct check_child child;
	struct tm_error error;
	int memory;

	check_start(&child, wait_for_end, NULL);
	CHECK_OK(tm_open_proc(child.pid, "mem", O_RDWR, &memory, &error));
	CHECK_OK(tm_pwrite_all(memory, word, sizeof(word), (uint64_t)word, &error));
	check_end(&child);
	CHECK(tm_pwrite_all(memory, word, sizeof(word), (uint64_t)word, &error) == TM_SHORT);
	CHECK(tm_pread_all(memory, word, sizeof(word), (uint64_t)word, &error) == TM_SHORT);
	close(memory);
}

int main(void)
{
	writes_to_ended_process_end();
	return 0;
}
