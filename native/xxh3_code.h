/*
 * XXH3-128 for one set of instructions. Who includes this defines TM_XXH3, the name of the
 * functions' table, and is compiled for these instructions: the hashes are the same for all.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "hashes.h"

static void put(XXH128_hash_t hash, unsigned char *ret)
{
	XXH128_canonicalFromHash((XXH128_canonical_t *)ret, hash);
}

static void hash(const void *data, size_t size, unsigned char *ret)
{
	put(XXH3_128bits(data, size), ret);
}

static void *create(void)
{
	XXH3_state_t *state = XXH3_createState();

	if (state)
		XXH3_128bits_reset(state);
	return state;
}

static void add(void *state, const void *data, size_t size)
{
	XXH3_128bits_update(state, data, size);
}

static void destroy(void *state, unsigned char *ret)
{
	if (ret)
		put(XXH3_128bits_digest(state), ret);
	XXH3_freeState(state);
}

const struct tm_xxh3 TM_XXH3 = {.hash = hash, .create = create, .add = add, .destroy = destroy};
