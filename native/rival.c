/*
 * Whether a program has in its code what makes a userfaultfd: userfaultfd(2), by the instruction
 * itself or by syscall(2), or /dev/userfaultfd. Memory can be registered with one of them only: it
 * would not get what it may want to have for itself. There is no way to be told when it does.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

/* A piece of a file. */
struct piece {
	const unsigned char *start;
	size_t size;
};

static bool has(struct piece piece, const void *bytes, size_t size)
{
	return memmem(piece.start, piece.size, bytes, size) != NULL;
}

#if defined(__x86_64__)

enum { NEAR = 40 }; /* bytes: what is in between sets the other arguments */

/* The bytes around a place in a piece: `before` of them, and as many behind it. */
static struct piece around(struct piece piece, const unsigned char *place, size_t before,
			   size_t behind)
{
	size_t offset = (size_t)(place - piece.start);
	size_t start = offset < before ? 0 : offset - before;
	size_t end = piece.size - offset < behind ? piece.size : offset + behind;

	return (struct piece){piece.start + start, end - start};
}

/* Whether a number that stands at `place` becomes that of a system call. */
static bool is_called(struct piece code, const unsigned char *place)
{
	static const unsigned char syscall_bytes[] = {0x0f, 0x05}, call[] = {0xe8},
				   call_by_table[] = {0xff, 0x15}, zero[] = {0x31, 0xc0},
				   move_zero[] = {0xb8, 0, 0, 0, 0};
	struct piece behind = around(code, place, 0, NEAR);
	struct piece near = around(code, place, NEAR, NEAR);

	if (place == code.start)
		return false;
	if (place[-1] == 0xb8) /* mov $number, %eax */
		return has(behind, syscall_bytes, sizeof(syscall_bytes));
	/* mov $number, %edi, or %rdi: it is an argument of syscall(2), which takes any number. */
	if (place[-1] != 0xbf && place[-1] != 0xc7)
		return false;
	return (has(near, zero, sizeof(zero)) || has(near, move_zero, sizeof(move_zero))) &&
	       (has(behind, call, sizeof(call)) ||
		has(behind, call_by_table, sizeof(call_by_table)));
}

static bool calls_it(struct piece code)
{
	const uint32_t number = SYS_userfaultfd;
	const unsigned char *end = code.start + code.size, *place = code.start;

	while ((place = memmem(place, (size_t)(end - place), &number, sizeof(number)))) {
		if (is_called(code, place))
			return true;
		place++;
	}
	return false;
}

#else

/* mov x8, #282 before svc, or mov x0, #282 before a call of syscall(2); as 32 bits, too. */
static bool calls_it(struct piece code)
{
	static const uint32_t moves[] = {0xd2802348, 0x52802348, 0xd2802340, 0x52802340};

	for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++)
		if (has(code, &moves[i], sizeof(moves[i])))
			return true;
	return false;
}

#endif

/* Whether a loaded part of a program that cannot be stored to has it. */
static bool is_in_segment(struct piece file, const Elf64_Phdr *segment)
{
	static const char device[] = "/dev/userfaultfd";
	struct piece piece = {file.start + segment->p_offset, segment->p_filesz};

	if (segment->p_type != PT_LOAD || segment->p_flags & PF_W ||
	    segment->p_offset > file.size || piece.size > file.size - segment->p_offset)
		return false;
	return has(piece, device, sizeof(device)) || (segment->p_flags & PF_X && calls_it(piece));
}

static bool is_in_file(struct piece file)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	if (file.size < sizeof(header))
		return false;
	memcpy(&header, file.start, sizeof(header));
	if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phoff > file.size ||
	    header.e_phnum > (file.size - header.e_phoff) / sizeof(segment))
		return false;
	for (size_t i = 0; i < header.e_phnum; i++) {
		memcpy(&segment, file.start + header.e_phoff + i * sizeof(segment),
		       sizeof(segment));
		if (is_in_segment(file, &segment))
			return true;
	}
	return false;
}

int tm_program_may_use_userfaultfd(int fd, bool *ret, struct tm_error *error)
{
	struct stat status;
	void *start;

	*ret = false;
	if (fstat(fd, &status) < 0)
		return tm_fail_on(error, 0, "look at a program");
	if (!S_ISREG(status.st_mode) || status.st_size == 0)
		return TM_OK;
	start = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (start == MAP_FAILED)
		return tm_fail_on(error, 0, "map a program");
	*ret = is_in_file((struct piece){start, (size_t)status.st_size});
	munmap(start, (size_t)status.st_size);
	return TM_OK;
}
