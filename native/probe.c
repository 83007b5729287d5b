/*
 * What this kernel and these privileges allow. Every answer comes from doing the thing
 * once; kernel versions are never looked at.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"
#include "uapi.h"

/* A page of shared memory of our own, to try things on. */
static int map_trial(unsigned char **ret, struct tm_error *error)
{
	*ret = mmap(NULL, tm_page_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		    0);
	if (*ret == MAP_FAILED)
		return tm_fail(error, TM_SYSTEM, "map a page to try things on");
	**ret = 1;
	return TM_OK;
}

static int probe_scan_for(uint64_t category, struct tm_error *error)
{
	TM_CLEANUP(tm_close) int pagemap = -1;
	struct tm_page_query query = {.mask = category};
	struct tm_bitmap *found = tm_bitmap_create(1);
	struct tm_view view = {0};
	unsigned char *memory;
	int code = tm_open_proc(getpid(), "pagemap", O_RDONLY, &pagemap, error);

	if (!found)
		return tm_fail(error, TM_MEMORY, "try PAGEMAP_SCAN");
	if (code == TM_OK)
		code = map_trial(&memory, error);
	if (code == TM_OK) {
		view.start = (uintptr_t)memory;
		view.end = view.start + tm_page_size();
		code = tm_pagemap_scan(pagemap, &view, query, found, error);
		munmap(memory, tm_page_size());
	}
	if (code == TM_OK && !tm_bitmap_test(found, 0))
		code = tm_fail(error, TM_UNSUPPORTED, "PAGEMAP_SCAN did not report a page in use");
	tm_bitmap_destroy(found);
	return code;
}

static int probe_pagemap_scan(struct tm_error *error)
{
	return probe_scan_for(PAGE_IS_PRESENT, error);
}

static int probe_pagemap_scan_soft_dirty(struct tm_error *error)
{
	/* A new mapping is soft-dirty all over, where there is soft-dirty at all. */
	return probe_scan_for(PAGE_IS_SOFT_DIRTY, error);
}

static int probe_procmap_query(struct tm_error *error)
{
	TM_CLEANUP(tm_close) int maps = -1;
	struct procmap_query query = {
		.size = sizeof(query),
		.query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA,
	};
	int code = tm_open_proc(getpid(), "maps", O_RDONLY, &maps, error);

	if (code == TM_OK && ioctl(maps, PROCMAP_QUERY, &query) < 0)
		code = tm_fail(error, TM_UNSUPPORTED,
			       "the kernel has no PROCMAP_QUERY; mappings are read as text");
	return code;
}

static int probe_map_files(struct tm_error *error)
{
	TM_CLEANUP(tm_close) int fd = -1;
	char name[64];
	unsigned char *memory;
	int code = map_trial(&memory, error);

	if (code != TM_OK)
		return code;
	snprintf(name, sizeof(name), "map_files/%lx-%lx", (unsigned long)memory,
		 (unsigned long)memory + (unsigned long)tm_page_size());
	code = tm_open_proc(getpid(), name, O_RDONLY, &fd, error);
	munmap(memory, tm_page_size());
	return code;
}

/* Seizes a child that only waits, stops it, and lets it go. */
static int probe_ptrace(struct tm_error *error)
{
	struct tm_event event;
	int code;
	pid_t child = fork();

	if (child == 0) {
		for (;;)
			pause();
	}
	if (child < 0)
		return tm_fail(error, TM_SYSTEM, "fork a process to try ptrace on");
	code = tm_tracee_seize(child, 0, error);
	if (code == TM_OK)
		code = tm_tracee_interrupt(child, error);
	if (code == TM_OK)
		code = tm_tracee_wait(child, true, &event, error);
	kill(child, SIGKILL);
	waitpid(child, NULL, __WALL);
	return code;
}

static int probe_uffd_wp(struct tm_error *error)
{
	return tm_tracker_probe("uffd-wp", error);
}

static int probe_soft_dirty(struct tm_error *error)
{
	return tm_tracker_probe("soft-dirty", error);
}

static const struct {
	const char *name;
	int (*probe)(struct tm_error *error);
} features[TM_FEATURE_COUNT] = {
	[TM_FEATURE_UFFD_WP] = {"uffd-wp", probe_uffd_wp},
	[TM_FEATURE_SOFT_DIRTY] = {"soft-dirty", probe_soft_dirty},
	[TM_FEATURE_PAGEMAP_SCAN] = {"pagemap-scan", probe_pagemap_scan},
	[TM_FEATURE_PAGEMAP_SCAN_SOFT_DIRTY] = {"pagemap-scan-soft-dirty",
						probe_pagemap_scan_soft_dirty},
	[TM_FEATURE_PAGEMAP_SCAN_GENERAL] = {"pagemap-scan-general", tm_general_scan_probe},
	[TM_FEATURE_PROCMAP_QUERY] = {"procmap-query", probe_procmap_query},
	[TM_FEATURE_MAP_FILES] = {"map-files", probe_map_files},
	[TM_FEATURE_PTRACE] = {"ptrace", probe_ptrace},
	[TM_FEATURE_TESTIMONY] = {"testimony", tm_testimony_probe},
};

const char *tm_feature_name(int feature)
{
	return feature >= 0 && feature < TM_FEATURE_COUNT ? features[feature].name : NULL;
}

int tm_probe(int feature, struct tm_error *error)
{
	if (feature < 0 || feature >= TM_FEATURE_COUNT)
		return tm_fail(error, TM_BOUNDS, "no feature %d", feature);
	return features[feature].probe(error);
}
