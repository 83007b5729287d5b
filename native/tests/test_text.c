/* The end of a vDSO is within what was read of it, whatever a program has made of its vDSO. */
#define _GNU_SOURCE
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "internal.h"

/* The end of a file of two pages, which stand at the end of what may be read. */
static size_t end_of(const Elf64_Ehdr *header, const Elf64_Phdr *segment, size_t place)
{
	size_t size = 8192, end;
	unsigned char *content = calloc(1, size);
	Elf64_Ehdr marked = *header;

	CHECK(content);
	if (segment)
		memcpy(content + place, segment, sizeof(*segment));
	memcpy(marked.e_ident, ELFMAG, SELFMAG);
	memcpy(content, &marked, sizeof(marked));
	end = tm_text_end(content, size);
	CHECK(end <= size);
	free(content);
	return end;
}

static void test_a_file_ends_with_its_sections_or_its_segment(void)
{
	Elf64_Ehdr header = {
		.e_shoff = 4096, .e_shnum = 4, .e_shentsize = 64, .e_phnum = 1, .e_phoff = 64};
	Elf64_Phdr segment = {.p_offset = 0, .p_filesz = 5000};

	CHECK(end_of(&header, &segment, 64) == 5000);
	segment.p_filesz = 100;
	CHECK(end_of(&header, &segment, 64) == 4096 + 4 * 64);
	header.e_phnum = 0;
	CHECK(end_of(&header, NULL, 0) == 4096 + 4 * 64);
	CHECK(tm_text_end((const unsigned char *)"\177ELF", 4) == 4);
}

/* Sums that wrap around name a place before the first byte, and an end of nothing. */
static void test_no_place_is_looked_at_beyond_what_was_read(void)
{
	static const uint64_t places[] = {0,	UINT64_MAX - 55, UINT64_MAX,	   8192, 8136,
					  8137, 1ULL << 63,	 UINT64_MAX - 8191};
	Elf64_Phdr segment = {.p_offset = UINT64_MAX, .p_filesz = UINT64_MAX};

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		Elf64_Ehdr header = {.e_phnum = 1, .e_phoff = places[i], .e_shoff = places[i]};

		end_of(&header, NULL, 0);
		header.e_shnum = header.e_shentsize = UINT16_MAX;
		CHECK(end_of(&header, NULL, 0) == 8192);
	}
	CHECK(end_of(&(Elf64_Ehdr){.e_phnum = 1, .e_phoff = 64}, &segment, 64) == 8192);
}

int main(void)
{
	test_a_file_ends_with_its_sections_or_its_segment();
	test_no_place_is_looked_at_beyond_what_was_read();
	return 0;
}
