/* The kernel's own description of its functions and structures: BTF. */
#ifndef TM_BTF_H
#define TM_BTF_H

#include "internal.h"

struct tm_btf {
	const unsigned char *data; /* /sys/kernel/btf/vmlinux, mapped or read */
	size_t size;
	const char *strings;
	uint32_t strings_size;
	uint32_t *types; /* by number, where the type's record begins in `data` */
	uint32_t count;	 /* numbers begin with 1 */
};

struct tm_btf_field {
	uint32_t offset; /* bytes */
	uint32_t size;	 /* bytes, of a number or a pointer */
	uint32_t target; /* the structure that a pointer points to, or 0 */
};

/* TM_UNSUPPORTED where the kernel was built without. */
int tm_btf_open(struct tm_btf *btf, struct tm_error *error);
/* Finds the sections and types in the `size` bytes of `data`, which stay the caller's. */
int tm_btf_index(struct tm_btf *btf, struct tm_error *error);
void tm_btf_close(struct tm_btf *btf);
/* The numbers of functions by name, in one pass; 0 for one that is not there, or not once. */
void tm_btf_functions(const struct tm_btf *btf, const char *const *names, size_t count,
		      uint32_t *ret);
/*
 * The place of the first parameter of a function that points to a structure `name`, and that
 * structure; -1 where there is none.
 */
int tm_btf_parameter(const struct tm_btf *btf, uint32_t function, const char *name, uint32_t *ret);
/*
 * The place of a function's parameter that is a number of 8 bytes, or a structure of as many, by
 * name; -1 where there is none.
 */
int tm_btf_word_parameter(const struct tm_btf *btf, uint32_t function, const char *name);
/* A member of a structure, or of one without a name within it; false where there is none. */
bool tm_btf_field(const struct tm_btf *btf, uint32_t structure, const char *name,
		  struct tm_btf_field *ret);

#endif
