/* What the files of the native library share among themselves. */
#ifndef TM_INTERNAL_H
#define TM_INTERNAL_H

#include <sys/types.h>

#include "arch.h"
#include "tidemark.h"

#define TM_CLEANUP(function) __attribute__((cleanup(function)))

/* For a descriptor that is to be closed at the end of its scope; -1 is none. */
void tm_close(int *fd);
/* For memory that is to be freed at the end of its scope. */
void tm_free(void *pointer);

/* Fills *error from a format for `what`; returns `code`. errno is taken as it stands. */
__attribute__((format(printf, 3, 4))) int tm_fail(struct tm_error *error, int code,
						  const char *format, ...);
/* The same for a failed system call on process `pid`: its errno decides the code. */
__attribute__((format(printf, 3, 4))) int tm_fail_on(struct tm_error *error, int pid,
						     const char *format, ...);

/* Opens /proc/TID/NAME. */
int tm_open_proc(int tid, const char *name, int flags, int *ret, struct tm_error *error);
/* pread, or pwrite, of all of it; TM_SHORT at an end of file. */
int tm_pread_all(int fd, void *buffer, size_t size, uint64_t offset, struct tm_error *error);
int tm_write_all(int fd, const void *buffer, size_t size, struct tm_error *error);
int tm_pwrite_all(int fd, const void *buffer, size_t size, uint64_t offset, struct tm_error *error);

/*
 * A stopped thread that is made to execute system calls and then stands exactly as before:
 * begin, call as often as needed, end.
 */
struct tm_injection {
	int tid;
	int held_signal;      /* a SIGSTOP that came meanwhile and is sent again at the end */
	uint64_t instruction; /* address of a system call instruction */
	uint64_t signal_mask;
	uint64_t rseq_pointer; /* of the critical section's descriptor, 0 for none */
	uint64_t rseq_section;
	struct tm_registers registers;
};

int tm_injection_begin(struct tm_injection *injection, int tid, struct tm_error *error);
/* *ret is the call's result, or a negative errno. */
int tm_injection_call(struct tm_injection *injection, long number, const uint64_t arguments[6],
		      int64_t *ret, struct tm_error *error);
/* Puts the thread back; after TM_GONE there is none, and nothing happens. */
void tm_injection_end(struct tm_injection *injection);

/* A tracker: one way to see writes. `space` is an open address space. */
struct tm_tracker {
	const char *name;
	int (*probe)(struct tm_error *error);
	int (*open)(struct tm_space *space, struct tm_error *error);
	int (*cover)(struct tm_space *space, struct tm_span span, struct tm_error *error);
	int (*arm)(struct tm_space *space, const struct tm_span *spans, size_t count,
		   struct tm_error *error);
	int (*scan)(struct tm_space *space, const struct tm_view *view, bool rearm,
		    struct tm_bitmap *written, struct tm_bitmap *unsure, struct tm_error *error);
};

struct tm_space {
	const struct tm_tracker *tracker;
	int pid;
	int tid;     /* a living thread of it */
	int pagemap; /* /proc/TID/pagemap; keeps the address space, not the process */
	int uffd;    /* the target's userfaultfd, held by us alone */
};

extern const struct tm_tracker tm_uffd_wp;
extern const struct tm_tracker tm_soft_dirty;

/* Sets the pages that addresses [start, end) of the view show. */
int tm_view_set(const struct tm_view *view, uint64_t start, uint64_t end, struct tm_bitmap *bitmap,
		struct tm_error *error);

struct tm_page_query {
	uint64_t flags;
	uint64_t mask;	   /* categories that a page must have */
	uint64_t inverted; /* of which these must be absent instead */
};

/* Runs PAGEMAP_SCAN over the view; adds the pages that match to `bitmap`. */
int tm_pagemap_scan(int pagemap, const struct tm_view *view, struct tm_page_query query,
		    struct tm_bitmap *bitmap, struct tm_error *error);

typedef void tm_page_visitor(uint64_t page, uint64_t entry, void *context);

/* Calls `visit` with the pagemap entry of each page of the view, through pread. */
int tm_pagemap_read(int pagemap, const struct tm_view *view, tm_page_visitor *visit, void *context,
		    struct tm_error *error);

/* Bits of a pagemap entry: Documentation/admin-guide/mm/pagemap.rst. */
#define TM_PM_SOFT_DIRTY (1ULL << 55)
#define TM_PM_SWAP (1ULL << 62)
#define TM_PM_PRESENT (1ULL << 63)

#endif
