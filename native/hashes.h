/* Hashing: XXH3-128 in canonical form, TM_HASH_BYTES each. */
#ifndef TM_HASHES_H
#define TM_HASHES_H

#include <stddef.h>

struct tm_xxh3 {
	void (*hash)(const void *data, size_t size, unsigned char *ret);
	/* A hash of pieces, one added after the other; NULL where there is no memory. */
	void *(*create)(void);
	void (*add)(void *state, const void *data, size_t size);
	/* `ret` takes the hash, or is NULL. */
	void (*destroy)(void *state, unsigned char *ret);
};

extern const struct tm_xxh3 tm_xxh3_plain, tm_xxh3_avx2;

/* The fastest that this machine has. */
const struct tm_xxh3 *tm_xxh3(void);

#endif
