/* What the files of the native library share among themselves. */
#ifndef TM_INTERNAL_H
#define TM_INTERNAL_H

#include <signal.h>
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
/* pread, or pwrite, of all of it; TM_SHORT at an end of file, or where nothing more is taken. */
int tm_pread_all(int fd, void *buffer, size_t size, uint64_t offset, struct tm_error *error);
int tm_write_all(int fd, const void *buffer, size_t size, struct tm_error *error);
int tm_pwrite_all(int fd, const void *buffer, size_t size, uint64_t offset, struct tm_error *error);

/* The options of a seizure as ptrace(2) knows them. */
long tm_ptrace_options(int options);
/* A number in /proc/TID/status, 0 where there is no such field. */
int tm_status_field(int tid, const char *field, uint64_t *ret, struct tm_error *error);
/* The same, and 0 where it cannot be read, too. */
int tm_status_number(int tid, const char *field);
/* A line of /proc/PID/maps; false where its mapping is not shared. */
bool tm_mapping_parse(const char *line, struct tm_mapping *ret);

/* Reads memory of a process up to the first page that cannot be read. */
ssize_t tm_memory_read(int tid, uint64_t address, void *buffer, size_t size);

/* A private mapping of a process that holds code, and cannot be stored to. */
struct tm_text {
	uint64_t start;
	uint64_t end;
	bool vdso; /* the kernel's own */
};

/* Returns true to have the search end. */
typedef bool tm_text_visitor(const struct tm_text *code, void *context);

/* Visits the mappings of code, the vDSO first; false where no visit has ended the search. */
bool tm_text_find(int tid, tm_text_visitor *visit, void *context);
/* The end of an ELF file in memory: of its sections' headers, or else of its one segment. */
size_t tm_text_end(const unsigned char *content, size_t size);

/* What the filters of a thread (seccomp) make of a system call; the higher, the worse. */
enum tm_filter_verdict {
	TM_FILTER_NONE,	   /* it has no filters */
	TM_FILTER_PASSES,  /* it is made */
	TM_FILTER_DENIES,  /* it returns an error */
	TM_FILTER_DEADLY,  /* the thread is killed, sent a signal, or waits; or it cannot be told */
	TM_FILTER_UNKNOWN, /* we may not ask for its filters, if it has any */
};

struct sock_filter;

/* Runs a filter on a call of which only the number is known. */
enum tm_filter_verdict tm_filter_run(const struct sock_filter *program, size_t count, long number);
/* The verdict of all filters of a thread that we trace and that stands. */
enum tm_filter_verdict tm_filter_judge(int tid, long number);

/* What a thread goes back to: `abort_address` where it was in a restartable sequence. */
struct tm_lifeline_target {
	int tid;
	const struct tm_registers *registers;
	uint64_t signal_mask;
	uint64_t abort_address;
};

struct tm_lifeline {
	uint64_t address; /* in the thread's memory, 0 where there is none */
	int memory;	  /* /proc/TID/mem */
	int place;	  /* for the next call */
};

/* The system call that undoes another: its first argument may be the result of that. */
struct tm_undo {
	int64_t number; /* -1 for none */
	uint64_t arguments[2];
	bool of_result;
};

/* TM_UNSUPPORTED where the thread's process has no room for one. */
int tm_lifeline_begin(struct tm_lifeline *lifeline, const struct tm_lifeline_target *target,
		      struct tm_error *error);
/* Where a thread goes back from; 0 where there is no lifeline. */
uint64_t tm_lifeline_back_address(const struct tm_lifeline *lifeline);
/* An instruction for the next system call, with the way back behind it; 0 where there is none. */
uint64_t tm_lifeline_call(struct tm_lifeline *lifeline, struct tm_undo undo);
void tm_lifeline_end(struct tm_lifeline *lifeline);

/*
 * A stopped thread that is made to execute system calls and then stands exactly as before:
 * begin, call as often as needed, end.
 */
struct tm_injection {
	int tid;
	int options; /* of the thread's seizure */
	bool begun;
	bool filtered;	       /* a seccomp filter of the thread would be suspended */
	bool called;	       /* the thread stands at the end of a call */
	uint64_t held_signals; /* that came meanwhile all the same, and are sent again at the end */
	uint64_t instruction;  /* address of a system call instruction, without a lifeline */
	uint64_t signal_mask;
	sigset_t our_signals;  /* of this thread, before */
	uint64_t rseq_pointer; /* of the critical section's descriptor, 0 for none */
	uint64_t rseq_section;
	struct tm_registers registers;
	struct tm_lifeline lifeline;
	int64_t result; /* of the last call, or a negative errno */
	int code;	/* of the first call that failed; then there are no more */
	struct tm_error error;
};

int tm_injection_begin(struct tm_injection *injection, struct tm_stopped thread,
		       struct tm_error *error);
/* A system call; `undo` is what the thread does after it where we die before the next. */
struct tm_call {
	long number;
	uint64_t arguments[6];
	struct tm_undo undo;
};

/* *ret is the call's result, or a negative errno. */
int tm_injection_call(struct tm_injection *injection, const struct tm_call *call, int64_t *ret,
		      struct tm_error *error);
/* Puts the thread back; after TM_GONE there is none, and nothing happens. */
void tm_injection_end(struct tm_injection *injection);
/* The same for several threads, whose calls go on at a time; each has its own result and code. */
void tm_injections_call(struct tm_injection *injections, size_t count, const struct tm_call *calls);
void tm_injections_end(struct tm_injection *injections, size_t count);

/* A tracker: one way to see writes. `space` is an open address space. */
struct tm_tracker {
	const char *name;
	uint64_t features; /* of the target's userfaultfd */
	int (*probe)(struct tm_error *error);
	int (*cover)(struct tm_space *space, struct tm_span span, struct tm_error *error);
	int (*arm)(struct tm_space *space, const struct tm_span *spans, size_t count,
		   struct tm_error *error);
	int (*scan)(struct tm_space *space, const struct tm_view *view, bool rearm,
		    struct tm_bitmap *written, struct tm_bitmap *unsure, struct tm_error *error);
	/* NULL for a tracker that has no notices. */
	int (*notice)(struct tm_space *space, struct tm_notice *ret, struct tm_error *error);
};

struct tm_space {
	const struct tm_tracker *tracker;
	struct tm_stopped thread; /* of it; it may stand no more */
	int pagemap;		  /* /proc/TID/pagemap; keeps the address space, not the process */
	int uffd;		  /* the target's userfaultfd, held by us alone */
};

/*
 * Has the space of each opening get a userfaultfd of the target for writes to shared memory, with
 * the features of its tracker; it also gives notice of what is done to mappings and no scan shows.
 * The targets' threads must stand. An opening that has failed is left alone.
 */
void tm_uffd_open_all(struct tm_opening *openings, size_t count);
/* One of this process, without notices. */
int tm_uffd_open_own(struct tm_space *space, uint64_t features, struct tm_error *error);
int tm_uffd_cover(struct tm_space *space, struct tm_span span, struct tm_error *error);
int tm_uffd_notice(struct tm_space *space, struct tm_notice *ret, struct tm_error *error);

extern const struct tm_tracker tm_uffd_wp;
extern const struct tm_tracker tm_soft_dirty;

/* Sets one page of a result that must be long enough. */
int tm_bitmap_mark(struct tm_bitmap *bitmap, uint64_t page, struct tm_error *error);

/* Sets the pages that addresses [start, end) of the view show. */
int tm_view_set(const struct tm_view *view, uint64_t start, uint64_t end, struct tm_bitmap *bitmap,
		struct tm_error *error);

/* The first extent that ends after `page`; the number of extents where there is none. */
size_t tm_extent_find(const struct tm_source *source, uint64_t page);

struct tm_page_query {
	uint64_t flags;
	uint64_t mask;	   /* categories that a page must have */
	uint64_t inverted; /* of which these must be absent instead */
};

/*
 * Whether PAGEMAP_SCAN tells of written pages when it is asked for more than those. On Linux
 * 6.16.12 to 6.18.15 it leaves out those whose entry vanished; the tracker asks for nothing else.
 */
int tm_general_scan_probe(struct tm_error *error);

/* Whether the kernel testifies to what is done to shared memory, each thing done by a child. */
int tm_testimony_probe(struct tm_error *error);

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
