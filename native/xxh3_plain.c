/* XXH3-128 by the instructions that every machine of this architecture has. */
#define TM_XXH3 tm_xxh3_plain
#include "xxh3_code.h"
