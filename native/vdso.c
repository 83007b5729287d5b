/* The vDSO of a process, where there is an instruction for system calls: vdso(7). */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"

enum { VDSO_PAGES = sizeof(((struct tm_vdso *)0)->content) / 4096 };

ssize_t tm_memory_read(int tid, uint64_t address, void *buffer, size_t size)
{
	struct iovec local = {.iov_base = buffer, .iov_len = size};
	/* One entry per page: a read stops at the first entry that it cannot read. */
	struct iovec remote[VDSO_PAGES];
	size_t count = 0;

	for (size_t done = 0; done < size && count < VDSO_PAGES; count++) {
		size_t piece = size - done < 4096 ? size - done : 4096;

		remote[count].iov_base = (void *)(uintptr_t)(address + done);
		remote[count].iov_len = piece;
		done += piece;
	}
	return process_vm_readv(tid, &local, 1, remote, count, 0);
}

/* The address of the vDSO, from the auxiliary vector: getauxval(3). */
static int find_vdso(int tid, uint64_t *ret, struct tm_error *error)
{
	TM_CLEANUP(tm_close) int fd = -1;
	uint64_t pair[2];
	int code = tm_open_proc(tid, "auxv", O_RDONLY, &fd, error);

	if (code != TM_OK)
		return code;
	while (read(fd, pair, sizeof(pair)) == sizeof(pair) && pair[0] != AT_NULL) {
		if (pair[0] == AT_SYSINFO_EHDR) {
			*ret = pair[1];
			return TM_OK;
		}
	}
	return tm_fail(error, TM_UNSUPPORTED, "process %d has no vDSO", tid);
}

/* The end of a piece of a file, `most` where it would lie beyond. */
static size_t end_within(uint64_t offset, uint64_t size, size_t most)
{
	return offset > most || size > most - offset ? most : (size_t)(offset + size);
}

size_t tm_elf_end(const unsigned char *content, size_t size)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	size_t end, of_segment;

	if (size < sizeof(header))
		return size;
	memcpy(&header, content, sizeof(header));
	end = end_within(header.e_shoff, (uint64_t)header.e_shnum * header.e_shentsize, size);
	/* Each of these is what the program says: a sum of them may be anything. */
	if (header.e_phnum && header.e_phoff <= size && size - header.e_phoff >= sizeof(segment)) {
		memcpy(&segment, content + header.e_phoff, sizeof(segment));
		of_segment = end_within(segment.p_offset, segment.p_filesz, size);
		end = of_segment > end ? of_segment : end;
	}
	return end;
}

int tm_vdso_read(int tid, struct tm_vdso *ret, struct tm_error *error)
{
	size_t page = tm_page_size();
	ssize_t size;
	int code = find_vdso(tid, &ret->address, error);

	if (code != TM_OK)
		return code;
	size = tm_memory_read(tid, ret->address, ret->content, sizeof(ret->content));
	if (size < 0)
		return tm_fail_on(error, tid, "read the vDSO");
	ret->size = (size_t)size;
	ret->end = tm_elf_end(ret->content, ret->size);
	ret->mapped = (ret->end + page - 1) / page * page;
	if (ret->mapped > ret->size)
		ret->mapped = ret->size;
	return TM_OK;
}

int tm_vdso_instruction(int tid, const struct tm_vdso *vdso, uint64_t *ret, struct tm_error *error)
{
	static const unsigned char instruction[] = TM_SYSCALL_INSTRUCTION;
	const unsigned char *found =
		memmem(vdso->content, vdso->end, instruction, sizeof(instruction));

	if (!found)
		return tm_fail(error, TM_UNSUPPORTED,
			       "no system call instruction in the vDSO of %d", tid);
	*ret = vdso->address + (uint64_t)(found - vdso->content);
	return TM_OK;
}
