/*
 * The programs that count what is done to shared memory other than by a store. Each kernel
 * function that leads to such a change is here; where in its arguments the object is to be
 * found, the kernel itself tells (BTF), as that differs from version to version.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "testimony.h"

enum {
	HOOK_NAMES = 2,
	HOOK_FIELDS = 2,
	VM_SHARED = 8,		 /* include/linux/mm.h */
	ATTRIBUTE_SIZE = 1 << 3, /* ATTR_SIZE of include/linux/fs.h */
};

enum effect {
	SPAN,  /* count when the function is entered, and when it is left */
	TOUCH, /* count as if it took no time */
	TAKE,  /* pages are handed out, and who has them may write them at any time */
};

enum need {
	ALWAYS,
	WHERE_THERE,
	HUGE_PAGES, /* the same; and all of these there must be for huge pages */
};

struct hook {
	const char *names[HOOK_NAMES];	 /* the first one that the kernel has is used */
	const char *structure;		 /* a parameter points to it */
	const char *fields[HOOK_FIELDS]; /* lead from there to the inode */
	enum effect effect;
	enum need need;
	bool resizes; /* counts only if the attributes that are set have a size */
	bool maps;    /* counts only if what is mapped is shared, and can be stored to */
};

static const struct hook hooks[] = {
	/* write(2) and its kin, asynchronous output, splice(2), loop devices, overlays, NFS */
	{{"shmem_file_write_iter", "generic_file_write_iter"},
	 "kiocb",
	 {"ki_filp", "f_inode"},
	 SPAN,
	 ALWAYS,
	 false,
	 false},
	/*
	 * What those come to, page by page. One that waits for its source does so before it: it is
	 * seen here although it was under way before anybody counted.
	 */
	{{"shmem_write_begin"}, "address_space", {"host"}, TOUCH, ALWAYS, false, false},
	/* fallocate(2), madvise(2) with MADV_REMOVE, discards of a loop device */
	{{"shmem_fallocate"}, "file", {"f_inode"}, SPAN, ALWAYS, false, false},
	/* truncate(2), open(2) with O_TRUNC */
	{{"shmem_setattr"}, "dentry", {"d_inode"}, SPAN, ALWAYS, true, false},
	/*
	 * mmap(2), shmat(2), remap_file_pages(2), overlays. At its end the mapping can be seen by
	 * whoever looks for it. do_mmap() has more parameters than all kernels let us see.
	 */
	{{"mmap_region", "do_mmap"}, "file", {"f_inode"}, SPAN, ALWAYS, false, true},
	/* udmabuf, iommufd */
	{{"memfd_pin_folios"}, "file", {"f_inode"}, TAKE, WHERE_THERE, false, false},
	/* udmabuf before Linux 6.11, graphics drivers */
	{{"shmem_read_folio_gfp"}, "address_space", {"host"}, TAKE, WHERE_THERE, false, false},
	{{"shmem_read_mapping_page_gfp"}, "address_space", {"host"}, TAKE, ALWAYS, false, false},
	/* Huge pages of hugetlbfs, which write(2) is refused to. */
	{{"hugetlbfs_fallocate"}, "file", {"f_inode"}, SPAN, HUGE_PAGES, false, false},
	{{"hugetlbfs_setattr"}, "dentry", {"d_inode"}, SPAN, HUGE_PAGES, true, false},
};

enum { HOOKS = sizeof(hooks) / sizeof(*hooks) };

/* Writes: leave unless the call may change an object, by its arguments at register 6. */
static bool write_filter(struct tm_bpf_program *program, const struct hook *hook,
			 const struct tm_btf *btf, uint32_t function)
{
	struct tm_btf_field valid;
	uint32_t attributes;
	int place;

	if (hook->maps) {
		place = tm_btf_word_parameter(btf, function, "vm_flags");
		if (place < 0)
			place = tm_btf_word_parameter(btf, function, "vma_flags"); /* a bitmap */
		if (place < 0)
			return true; /* then all mappings count */
		tm_bpf_load_from(program, BPF_REG_1, BPF_REG_6, 8 * (uint32_t)place, 8);
		tm_bpf_number(program, BPF_AND, BPF_REG_1, VM_SHARED);
		tm_bpf_leave_if(program, BPF_JEQ, BPF_REG_1, 0);
	}
	if (hook->resizes) {
		place = tm_btf_parameter(btf, function, "iattr", &attributes);
		if (place < 0 || !tm_btf_field(btf, attributes, "ia_valid", &valid) ||
		    valid.size != 4)
			return false;
		tm_bpf_load_from(program, BPF_REG_1, BPF_REG_6, 8 * (uint32_t)place, 8);
		tm_bpf_load_from(program, BPF_REG_1, BPF_REG_1, valid.offset, 4);
		tm_bpf_number(program, BPF_AND, BPF_REG_1, ATTRIBUTE_SIZE);
		tm_bpf_leave_if(program, BPF_JEQ, BPF_REG_1, 0);
	}
	return true;
}

/* Writes: register 1 becomes the object's inode; leave where there is none. */
static bool write_inode(struct tm_bpf_program *program, const struct hook *hook,
			const struct tm_btf *btf, uint32_t function, uint32_t *ret_inode)
{
	struct tm_btf_field field;
	int place = tm_btf_parameter(btf, function, hook->structure, ret_inode);

	if (place < 0)
		return false;
	tm_bpf_load_from(program, BPF_REG_1, BPF_REG_6, 8 * (uint32_t)place, 8);
	for (size_t i = 0; i < HOOK_FIELDS && hook->fields[i]; i++) {
		if (!tm_btf_field(btf, *ret_inode, hook->fields[i], &field) || !field.target)
			return false;
		tm_bpf_leave_if(program, BPF_JEQ, BPF_REG_1, 0);
		tm_bpf_load_from(program, BPF_REG_1, BPF_REG_1, field.offset, 8);
		*ret_inode = field.target;
	}
	tm_bpf_leave_if(program, BPF_JEQ, BPF_REG_1, 0);
	return true;
}

/* Writes: the key of the inode at register 1 goes to the stack. */
static bool write_key(struct tm_bpf_program *program, const struct tm_btf *btf, uint32_t inode)
{
	const int key = -(int)sizeof(struct tm_object_key);
	struct tm_btf_field number, block, device;

	if (!tm_btf_field(btf, inode, "i_ino", &number) || number.size != 8 ||
	    !tm_btf_field(btf, inode, "i_sb", &block) || !block.target ||
	    !tm_btf_field(btf, block.target, "s_dev", &device) || device.size != 4)
		return false;
	tm_bpf_load_from(program, BPF_REG_2, BPF_REG_1, number.offset, 8);
	tm_bpf_store(program, BPF_REG_10, key + (int)offsetof(struct tm_object_key, inode),
		     BPF_REG_2, 8);
	tm_bpf_load_from(program, BPF_REG_1, BPF_REG_1, block.offset, 8);
	tm_bpf_load_from(program, BPF_REG_1, BPF_REG_1, device.offset, 4);
	tm_bpf_store(program, BPF_REG_10, key + (int)offsetof(struct tm_object_key, device),
		     BPF_REG_1, 8);
	return true;
}

/*
 * Writes: register 9 becomes the address of the object's tally; leave where it is not watched,
 * or the caller is our own process. What that does to the first object counts all the same.
 */
static void write_lookup(struct tm_bpf_program *program, struct tm_testimony_maps maps)
{
	tm_bpf_map(program, BPF_REG_1, maps.objects, false);
	tm_bpf_register(program, BPF_MOV, BPF_REG_2, BPF_REG_10);
	tm_bpf_number(program, BPF_ADD, BPF_REG_2, -(int32_t)sizeof(struct tm_object_key));
	tm_bpf_call(program, BPF_FUNC_map_lookup_elem);
	tm_bpf_leave_if(program, BPF_JEQ, BPF_REG_0, 0);
	tm_bpf_load_from(program, BPF_REG_8, BPF_REG_0, 0, 8);
	tm_bpf_number(program, BPF_AND, BPF_REG_8, TM_TESTIMONY_OBJECTS - 1);
	tm_bpf_call(program, BPF_FUNC_get_current_pid_tgid);
	tm_bpf_number(program, BPF_RSH, BPF_REG_0, 32);
	tm_bpf_map(program, BPF_REG_9, maps.area, true);
	tm_bpf_skip_if_zero(program, BPF_REG_8, 2);
	tm_bpf_load_from(program, BPF_REG_1, BPF_REG_9, offsetof(struct tm_tally_area, self), 4);
	tm_bpf_leave_if_same(program, BPF_REG_0, BPF_REG_1);
	tm_bpf_number(program, BPF_LSH, BPF_REG_8, 5);
	tm_bpf_register(program, BPF_ADD, BPF_REG_9, BPF_REG_8);
	tm_bpf_number(program, BPF_ADD, BPF_REG_9, offsetof(struct tm_tally_area, tallies));
}

_Static_assert(sizeof(struct tm_tally) == 1 << 5, "write_lookup() shifts by 5");
_Static_assert((TM_TESTIMONY_OBJECTS & (TM_TESTIMONY_OBJECTS - 1)) == 0, "a mask bounds it");

/* Writes: count in the tally at register 9. */
static void write_count(struct tm_bpf_program *program, enum effect effect, int side)
{
	tm_bpf_store(program, BPF_REG_9, offsetof(struct tm_tally, who), BPF_REG_0, 4);
	tm_bpf_number(program, BPF_MOV, BPF_REG_1, 1);
	if (effect == TAKE)
		tm_bpf_atomic_add(program, BPF_REG_9, offsetof(struct tm_tally, taken), BPF_REG_1);
	else if (side == BPF_TRACE_FENTRY)
		tm_bpf_atomic_add(program, BPF_REG_9, offsetof(struct tm_tally, entered),
				  BPF_REG_1);
	if (effect == TOUCH || (effect == SPAN && side == BPF_TRACE_FEXIT))
		tm_bpf_atomic_add(program, BPF_REG_9, offsetof(struct tm_tally, left), BPF_REG_1);
}

/* Assembles the program for one side of a hook; false where the kernel's types are others. */
static bool assemble(struct tm_bpf_program *ret, const struct hook *hook, const struct tm_btf *btf,
		     struct tm_bpf_place place, struct tm_testimony_maps maps)
{
	uint32_t inode;

	*ret = (struct tm_bpf_program){0};
	tm_bpf_register(ret, BPF_MOV, BPF_REG_6, BPF_REG_1);
	if (!write_filter(ret, hook, btf, place.function) ||
	    !write_inode(ret, hook, btf, place.function, &inode) || !write_key(ret, btf, inode))
		return false;
	write_lookup(ret, maps);
	write_count(ret, hook->effect, place.side);
	tm_bpf_end(ret);
	return true;
}

static int attach_side(struct tm_testimony_programs *programs, const struct hook *hook,
		       const struct tm_btf *btf, struct tm_bpf_place place,
		       struct tm_testimony_maps maps, struct tm_error *error)
{
	struct tm_bpf_program program;
	size_t i = programs->count;

	if (!assemble(&program, hook, btf, place, maps))
		return tm_fail(error, TM_UNSUPPORTED, "the kernel's %s is not as it is known here",
			       place.name);
	if (i >= TM_TESTIMONY_PROGRAMS)
		return tm_fail(error, TM_BOUNDS, "attach more programs than there is room for");
	programs->programs[i] = programs->links[i] = -1;
	programs->count++;
	return tm_bpf_attach(&program, place, &programs->programs[i], &programs->links[i], error);
}

/* Attaches to the function that the kernel has for a hook: `functions` are those of its names. */
static int attach_hook(struct tm_testimony_programs *programs, const struct hook *hook,
		       const struct tm_btf *btf, const uint32_t *functions,
		       struct tm_testimony_maps maps, struct tm_error *error)
{
	size_t used = functions[0] || !hook->names[1] ? 0 : 1;
	struct tm_bpf_place place = {functions[used], BPF_TRACE_FENTRY, hook->names[used]};
	int code;

	if (!place.function && hook->need == ALWAYS)
		return tm_fail(error, TM_UNSUPPORTED, "the kernel has no function %s", place.name);
	if (!place.function) {
		programs->huge &= hook->need != HUGE_PAGES;
		return TM_OK;
	}
	code = attach_side(programs, hook, btf, place, maps, error);
	place.side = BPF_TRACE_FEXIT;
	if (code == TM_OK && hook->effect == SPAN)
		code = attach_side(programs, hook, btf, place, maps, error);
	return code;
}

int tm_testimony_attach(struct tm_testimony_maps maps, struct tm_testimony_programs *ret,
			struct tm_error *error)
{
	const char *names[HOOKS * HOOK_NAMES];
	uint32_t functions[HOOKS * HOOK_NAMES];
	struct tm_btf btf;
	int code = tm_btf_open(&btf, error);

	*ret = (struct tm_testimony_programs){.huge = true};
	if (code != TM_OK)
		return code;
	for (size_t i = 0; i < HOOKS * HOOK_NAMES; i++) {
		const char *name = hooks[i / HOOK_NAMES].names[i % HOOK_NAMES];

		names[i] = name ? name : "";
	}
	tm_btf_functions(&btf, names, HOOKS * HOOK_NAMES, functions);
	for (size_t i = 0; i < HOOKS && code == TM_OK; i++)
		code = attach_hook(ret, &hooks[i], &btf, functions + i * HOOK_NAMES, maps, error);
	tm_btf_close(&btf);
	return code;
}
