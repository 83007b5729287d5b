/* What a program has made of its vDSO: nothing is looked for beyond what was read of it. */
#include <string.h>

#include "fuzz.h"
#include "internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tm_vdso vdso;
	struct tm_error error;
	uint64_t found;

	PROMISE(tm_elf_end(data, size) <= size);
	if (size > sizeof(vdso.content))
		return 0;
	memcpy(vdso.content, data, size);
	vdso.address = 1 << 20;
	vdso.size = size;
	vdso.end = tm_elf_end(vdso.content, size);
	if (tm_vdso_instruction(1, &vdso, &found, &error) == TM_OK)
		PROMISE(found >= vdso.address && found - vdso.address + 2 <= size);
	return 0;
}
