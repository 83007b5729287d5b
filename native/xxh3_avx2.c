/* XXH3-128 by AVX2: a third faster. This file alone is compiled for it; see hashes.c. */
#define TM_XXH3 tm_xxh3_avx2
#include "xxh3_code.h"
