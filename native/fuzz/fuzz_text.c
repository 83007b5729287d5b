/* What a program has made of its vDSO, or of other code: it ends within what was read of it. */
#include "fuzz.h"
#include "internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PROMISE(tm_text_end(data, size) <= size);
	return 0;
}
