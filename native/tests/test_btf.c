/* The kernel's description of itself: functions, parameters and fields are found by name. */
#include <string.h>
#include <unistd.h>

#include "btf.h"
#include "check.h"

static void functions_are_found_by_name(const struct tm_btf *btf)
{
	static const char *const names[] = {"shmem_fallocate", "no_such_function", "shmem_setattr",
					    ""};
	uint32_t found[4], structure;

	tm_btf_functions(btf, names, 4, found);
	CHECK(found[0] && !found[1] && found[2] && found[2] != found[0] && !found[3]);
	CHECK(tm_btf_parameter(btf, found[0], "file", &structure) == 0);
	CHECK(tm_btf_parameter(btf, found[0], "inode", &structure) == -1);
	CHECK(tm_btf_parameter(btf, found[2], "dentry", &structure) == 1);
	CHECK(tm_btf_parameter(btf, found[2], "iattr", &structure) == 2);
	CHECK(tm_btf_word_parameter(btf, found[0], "len") == 3);
	CHECK(tm_btf_word_parameter(btf, found[0], "mode") == -1); /* of 4 bytes */
}

static void fields_are_found_by_name(const struct tm_btf *btf)
{
	static const char *const names[] = {"shmem_fallocate"};
	struct tm_btf_field inode, number, block, device;
	uint32_t function, file;

	tm_btf_functions(btf, names, 1, &function);
	CHECK(tm_btf_parameter(btf, function, "file", &file) == 0);
	CHECK(tm_btf_field(btf, file, "f_inode", &inode) && inode.size == 8 && inode.target);
	CHECK(!tm_btf_field(btf, file, "no_such_field", &number));
	CHECK(tm_btf_field(btf, inode.target, "i_ino", &number) && !number.target);
	CHECK(tm_btf_field(btf, inode.target, "i_nlink", &number)); /* in a union without a name */
	CHECK(tm_btf_field(btf, inode.target, "i_sb", &block) && block.target);
	CHECK(tm_btf_field(btf, block.target, "s_dev", &device) && device.size == 4);
	CHECK(!tm_btf_field(btf, 0, "s_dev", &device));
}

int main(void)
{
	struct tm_btf btf;
	struct tm_error error;

	if (access("/sys/kernel/btf/vmlinux", R_OK) != 0) {
		printf("skipped: the kernel does not describe its types\n");
		return 0;
	}
	CHECK_OK(tm_btf_open(&btf, &error));
	functions_are_found_by_name(&btf);
	fields_are_found_by_name(&btf);
	tm_btf_close(&btf);
	tm_btf_close(&btf); /* once more harms nothing */
	return 0;
}
