/*
 * Reading the kernel's BTF: Documentation/bpf/btf.rst. Nothing is looked for that is not asked
 * for: opening notes where each type begins, and that is all.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/btf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "btf.h"

/* In the place of a function's number: there are two of that name, and nobody knows which is meant.
 */
static const uint32_t TWICE = UINT32_MAX;

static const char path[] = "/sys/kernel/btf/vmlinux";

/* Maps the file; before Linux 6.16 it can only be read. */
static int load(struct tm_btf *btf, struct tm_error *error)
{
	TM_CLEANUP(tm_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *memory;
	int code;

	if (fd < 0 || fstat(fd, &status) < 0)
		return tm_fail(error, TM_UNSUPPORTED, "the kernel does not describe its types (%s)",
			       path);
	btf->size = (size_t)status.st_size;
	memory = mmap(NULL, btf->size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (memory == MAP_FAILED) {
		memory = mmap(NULL, btf->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			      -1, 0);
		if (memory == MAP_FAILED)
			return tm_fail(error, TM_MEMORY, "read %s", path);
		code = tm_pread_all(fd, memory, btf->size, 0, error);
		if (code != TM_OK) {
			munmap(memory, btf->size);
			return code;
		}
	}
	btf->data = memory;
	return TM_OK;
}

static const struct btf_type *type_at(const struct tm_btf *btf, uint32_t number)
{
	if (number == 0 || number >= btf->count)
		return NULL;
	return (const struct btf_type *)(btf->data + btf->types[number]);
}

static const char *name_of(const struct tm_btf *btf, uint32_t offset)
{
	return offset < btf->strings_size ? btf->strings + offset : "";
}

/* The size of a type's record, 0 for a kind that is not known: what follows cannot be found. */
static size_t record_size(const struct btf_type *type)
{
	size_t members = BTF_INFO_VLEN(type->info);

	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_PTR:
	case BTF_KIND_FWD:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_FUNC:
	case BTF_KIND_FLOAT:
	case BTF_KIND_TYPE_TAG:
		return sizeof(*type);
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG:
		return sizeof(*type) + sizeof(uint32_t);
	case BTF_KIND_ARRAY:
		return sizeof(*type) + sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return sizeof(*type) + members * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return sizeof(*type) + members * sizeof(struct btf_enum);
	case BTF_KIND_ENUM64:
		return sizeof(*type) + members * sizeof(struct btf_enum64);
	case BTF_KIND_FUNC_PROTO:
		return sizeof(*type) + members * sizeof(struct btf_param);
	case BTF_KIND_DATASEC:
		return sizeof(*type) + members * sizeof(struct btf_var_secinfo);
	default:
		return 0;
	}
}

/* Notes where each type begins between two offsets. */
static int index_types(struct tm_btf *btf, uint32_t start, uint32_t end, struct tm_error *error)
{
	/* No record is shorter than its head. */
	btf->types = malloc(((end - start) / sizeof(struct btf_type) + 2) * sizeof(*btf->types));
	if (!btf->types)
		return tm_fail(error, TM_MEMORY, "index the kernel's types");
	btf->count = 1;
	while (end - start >= sizeof(struct btf_type)) {
		size_t size = record_size((const struct btf_type *)(btf->data + start));

		if (size == 0 || size > end - start)
			return tm_fail(error, TM_UNSUPPORTED,
				       "the kernel's types are described in a way not known here");
		btf->types[btf->count++] = start;
		start += (uint32_t)size;
	}
	return TM_OK;
}

int tm_btf_index(struct tm_btf *btf, struct tm_error *error)
{
	const struct btf_header *header = (const struct btf_header *)btf->data;
	uint64_t types, strings;

	if (btf->size < sizeof(*header) || header->magic != BTF_MAGIC)
		return tm_fail(error, TM_UNSUPPORTED, "%s is no description of types", path);
	types = (uint64_t)header->hdr_len + header->type_off;
	strings = (uint64_t)header->hdr_len + header->str_off;
	if (types % 4 || types + header->type_len > btf->size ||
	    strings + header->str_len > btf->size || header->str_len == 0 ||
	    btf->data[strings + header->str_len - 1])
		return tm_fail(error, TM_UNSUPPORTED, "%s is cut short", path);
	btf->strings = (const char *)btf->data + strings;
	btf->strings_size = header->str_len;
	return index_types(btf, (uint32_t)types, (uint32_t)types + header->type_len, error);
}

int tm_btf_open(struct tm_btf *btf, struct tm_error *error)
{
	int code;

	*btf = (struct tm_btf){0};
	code = load(btf, error);
	if (code == TM_OK)
		code = tm_btf_index(btf, error);
	if (code != TM_OK)
		tm_btf_close(btf);
	return code;
}

void tm_btf_close(struct tm_btf *btf)
{
	free(btf->types);
	if (btf->data)
		munmap((void *)btf->data, btf->size);
	*btf = (struct tm_btf){0};
}

void tm_btf_functions(const struct tm_btf *btf, const char *const *names, size_t count,
		      uint32_t *ret)
{
	bool begins[256] = {false};

	memset(ret, 0, count * sizeof(*ret));
	for (size_t i = 0; i < count; i++)
		begins[(unsigned char)names[i][0]] = true;
	for (uint32_t number = 1; number < btf->count; number++) {
		const struct btf_type *type = type_at(btf, number);
		const char *name;

		if (BTF_INFO_KIND(type->info) != BTF_KIND_FUNC)
			continue;
		name = name_of(btf, type->name_off);
		if (!begins[(unsigned char)name[0]])
			continue;
		for (size_t i = 0; i < count; i++) {
			if (strcmp(name, names[i]) != 0)
				continue;
			ret[i] = ret[i] ? TWICE : number;
		}
	}
	for (size_t i = 0; i < count; i++) {
		if (ret[i] == TWICE)
			ret[i] = 0;
	}
}

/* What is behind typedefs and qualifiers. */
static uint32_t strip(const struct tm_btf *btf, uint32_t number)
{
	for (int depth = 0; depth < 32; depth++) {
		const struct btf_type *type = type_at(btf, number);

		if (!type)
			return 0;
		switch (BTF_INFO_KIND(type->info)) {
		case BTF_KIND_TYPEDEF:
		case BTF_KIND_VOLATILE:
		case BTF_KIND_CONST:
		case BTF_KIND_RESTRICT:
		case BTF_KIND_TYPE_TAG:
			number = type->type;
			break;
		default:
			return number;
		}
	}
	return 0;
}

static bool is_kind(const struct tm_btf *btf, uint32_t number, uint32_t kind)
{
	const struct btf_type *type = type_at(btf, number);

	return type && BTF_INFO_KIND(type->info) == kind;
}

/* The structure that a type points to, or 0. */
static uint32_t pointed_to(const struct tm_btf *btf, uint32_t number)
{
	number = strip(btf, number);
	if (!is_kind(btf, number, BTF_KIND_PTR))
		return 0;
	number = strip(btf, type_at(btf, number)->type);
	return is_kind(btf, number, BTF_KIND_STRUCT) ? number : 0;
}

/* The parameters of a function. */
static const struct btf_param *parameters_of(const struct tm_btf *btf, uint32_t function,
					     uint32_t *ret_count)
{
	const struct btf_type *type = type_at(btf, function);

	*ret_count = 0;
	if (!type || !is_kind(btf, type->type, BTF_KIND_FUNC_PROTO))
		return NULL;
	type = type_at(btf, type->type);
	*ret_count = BTF_INFO_VLEN(type->info);
	return (const struct btf_param *)(type + 1);
}

int tm_btf_parameter(const struct tm_btf *btf, uint32_t function, const char *name, uint32_t *ret)
{
	uint32_t count;
	const struct btf_param *parameters = parameters_of(btf, function, &count);

	for (uint32_t i = 0; i < count; i++) {
		uint32_t target = pointed_to(btf, parameters[i].type);

		if (target && strcmp(name_of(btf, type_at(btf, target)->name_off), name) == 0) {
			*ret = target;
			return (int)i;
		}
	}
	return -1;
}

int tm_btf_word_parameter(const struct tm_btf *btf, uint32_t function, const char *name)
{
	uint32_t count;
	const struct btf_param *parameters = parameters_of(btf, function, &count);

	for (uint32_t i = 0; i < count; i++) {
		uint32_t number = strip(btf, parameters[i].type);
		bool is_word =
			is_kind(btf, number, BTF_KIND_INT) || is_kind(btf, number, BTF_KIND_STRUCT);

		if (strcmp(name_of(btf, parameters[i].name_off), name) == 0)
			return is_word && type_at(btf, number)->size == 8 ? (int)i : -1;
	}
	return -1;
}

/* The size of what a member holds: a number or a pointer, else 0. */
static uint32_t size_of(const struct tm_btf *btf, uint32_t number)
{
	const struct btf_type *type = type_at(btf, strip(btf, number));

	if (type && BTF_INFO_KIND(type->info) == BTF_KIND_PTR)
		return sizeof(void *);
	return type && BTF_INFO_KIND(type->info) == BTF_KIND_INT ? type->size : 0;
}

/* Looks into one structure; `depth` bounds what is nested. */
static bool find_field(const struct tm_btf *btf, uint32_t structure, const char *name, int depth,
		       struct tm_btf_field *ret)
{
	const struct btf_type *type = type_at(btf, structure);
	const struct btf_member *members = (const struct btf_member *)(type + 1);

	for (uint32_t i = 0; i < BTF_INFO_VLEN(type->info); i++) {
		uint32_t bits = members[i].offset;
		uint32_t inner = strip(btf, members[i].type);

		if (BTF_INFO_KFLAG(type->info)) {
			if (BTF_MEMBER_BITFIELD_SIZE(bits))
				continue; /* none of what is looked for is one */
			bits = BTF_MEMBER_BIT_OFFSET(bits);
		}
		if (strcmp(name_of(btf, members[i].name_off), name) == 0) {
			*ret = (struct tm_btf_field){bits / 8, size_of(btf, members[i].type),
						     pointed_to(btf, members[i].type)};
			return true;
		}
		if (members[i].name_off == 0 && depth > 0 &&
		    (is_kind(btf, inner, BTF_KIND_STRUCT) || is_kind(btf, inner, BTF_KIND_UNION)) &&
		    find_field(btf, inner, name, depth - 1, ret)) {
			ret->offset += bits / 8;
			return true;
		}
	}
	return false;
}

bool tm_btf_field(const struct tm_btf *btf, uint32_t structure, const char *name,
		  struct tm_btf_field *ret)
{
	return is_kind(btf, structure, BTF_KIND_STRUCT) && find_field(btf, structure, name, 8, ret);
}
