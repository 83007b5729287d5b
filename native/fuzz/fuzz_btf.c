/* The kernel's description of itself, cut, or of a form that is not known here. */
#include <string.h>

#include "btf.h"
#include "fuzz.h"

/* Asks all that the library asks, of what it has indexed. */
static void ask(const struct tm_btf *btf)
{
	static const char *const names[] = {"f", "shmem_fallocate"};
	struct tm_btf_field field;
	uint32_t functions[2], structure;

	tm_btf_functions(btf, names, 2, functions);
	for (int i = 0; i < 2; i++) {
		if (tm_btf_parameter(btf, functions[i], "s", &structure) >= 0)
			PROMISE(structure < btf->count);
		tm_btf_word_parameter(btf, functions[i], "len");
	}
	for (uint32_t number = 0; number <= btf->count && number < 64; number++)
		if (tm_btf_field(btf, number, "m", &field))
			PROMISE(field.target < btf->count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned char *aligned = malloc(size + 1); /* as a mapping is */
	struct tm_btf btf = {.data = aligned, .size = size};
	struct tm_error error;

	PROMISE(aligned);
	memcpy(aligned, data, size);
	if (tm_btf_index(&btf, &error) == TM_OK)
		ask(&btf);
	free(btf.types);
	free(aligned);
	return 0;
}
