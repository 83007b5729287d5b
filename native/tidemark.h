/*
 * Tidemark's native library: find the shared mappings of processes, watch writes to
 * them, and copy, hash and compare their pages.
 *
 * Functions return TM_OK or another tm_code; then *error says what failed and where.
 * Pages are numbered from the start of their object and have the size that
 * tm_page_size() gives; addresses and offsets are in bytes. The out-parameter is last
 * but for `error`. Nothing here prints, exits or keeps global state.
 *
 * The lines without a leading '#' are also the declarations that cffi reads.
 */
#ifndef TIDEMARK_H
#define TIDEMARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* errors */

enum tm_code {
	TM_OK = 0,
	TM_SYSTEM = 1,	    /* a system call failed: see sys_errno */
	TM_MEMORY = 2,	    /* no memory */
	TM_GONE = 3,	    /* the process or thread has ended */
	TM_CHANGED = 4,	    /* a mapping or object is not what it was */
	TM_TRACED = 5,	    /* another tracer holds the process */
	TM_FORBIDDEN = 6,   /* the privileges do not suffice */
	TM_UNSUPPORTED = 7, /* this kernel or machine lacks the feature */
	TM_SHORT = 8,	    /* fewer bytes than there should be */
	TM_BOUNDS = 9,	    /* a page or address outside its object */
	TM_STATE = 10,	    /* a call that the object's state does not allow */
};

struct tm_error {
	int code;
	int sys_errno;
	int pid;
	uint64_t address;
	char what[120]; /* what was being done, for the message */
};

uint64_t tm_page_size(void);
/* Lets each of two files or directories have the other's name, at once: renameat2(2). */
int tm_exchange_paths(const char *path, const char *other, struct tm_error *error);

/* pool: threads that share the work of a call with the one that makes it */

struct tm_pool;

/* The threads are started when they are needed first, and get no signals. */
int tm_pool_create(unsigned threads, struct tm_pool **ret, struct tm_error *error);
/* Ends the threads; nobody may use the pool any more. */
void tm_pool_destroy(struct tm_pool *pool);

/* bitmap: a sparse bitmap over the pages of one object */

enum { TM_CHUNK_PAGES = 32768, TM_CHUNK_BYTES = 4096 };

struct tm_bitmap;

struct tm_run {
	uint64_t first;
	uint64_t count;
};

struct tm_bitmap *tm_bitmap_create(uint64_t pages);
void tm_bitmap_destroy(struct tm_bitmap *bitmap);
uint64_t tm_bitmap_pages(const struct tm_bitmap *bitmap);
/* Lengthens the bitmap with zero bits; a smaller size leaves it as it is. */
void tm_bitmap_grow(struct tm_bitmap *bitmap, uint64_t pages);
/* Sets a run; TM_BOUNDS where it leaves the bitmap, and then nothing is set. */
int tm_bitmap_set(struct tm_bitmap *bitmap, uint64_t first, uint64_t count);
void tm_bitmap_clear(struct tm_bitmap *bitmap, uint64_t first, uint64_t count);
bool tm_bitmap_test(const struct tm_bitmap *bitmap, uint64_t page);
/* In-place set operations. A page beyond the shorter bitmap counts as zero; or grows. */
int tm_bitmap_or(struct tm_bitmap *bitmap, const struct tm_bitmap *other);
void tm_bitmap_and(struct tm_bitmap *bitmap, const struct tm_bitmap *other);
void tm_bitmap_andnot(struct tm_bitmap *bitmap, const struct tm_bitmap *other);
/* Keeps about `share` (0 to 1) of the pages: for one seed always the same ones. */
void tm_bitmap_sample(struct tm_bitmap *bitmap, uint64_t seed, double share);
uint64_t tm_bitmap_count(const struct tm_bitmap *bitmap);
/* The first run at or after `from`; false where there is none. */
bool tm_bitmap_next(const struct tm_bitmap *bitmap, uint64_t from, struct tm_run *ret);
/* Up to `capacity` runs at or after `from`; returns how many. */
size_t tm_bitmap_runs(const struct tm_bitmap *bitmap, uint64_t from, size_t capacity,
		      struct tm_run *ret);
/* The first chunk at or after `from` with a set bit, and its 4096 bytes; false at the end. */
bool tm_bitmap_chunk(const struct tm_bitmap *bitmap, uint64_t from, uint64_t *ret_index,
		     unsigned char *ret);
/* Replaces one chunk; TM_BOUNDS where a bit at or beyond the end is set. */
int tm_bitmap_load(struct tm_bitmap *bitmap, uint64_t index, const unsigned char *bits);
/*
 * The first run of whole blocks of `block` pages in each of which a page at or after `from` is
 * set, cut at the end of the bitmap; false where there is none.
 */
bool tm_bitmap_next_blocks(const struct tm_bitmap *bitmap, uint64_t block, uint64_t from,
			   struct tm_run *ret);

/* maps: the shared mappings of a process */

enum { TM_NAME_MAX = 256 };

struct tm_mapping {
	uint64_t start;
	uint64_t end;
	uint64_t offset; /* of `start` in the object, bytes */
	uint64_t inode;
	uint32_t device_major;
	uint32_t device_minor;
	uint32_t protection; /* PROT_READ, PROT_WRITE, PROT_EXEC */
	uint64_t page_size;  /* of its page table, bytes; 0 where the kernel does not tell */
	char name[256];	     /* cut to fit; as in /proc/PID/maps */
};

/*
 * The MAP_SHARED file mappings of the process that thread `tid` belongs to, ascending.
 * *ret_count is how many there are; where that is more than `capacity`, the rest is missing.
 */
int tm_maps_shared(int tid, size_t capacity, struct tm_mapping *ret, size_t *ret_count,
		   struct tm_error *error);

struct tm_span {
	uint64_t start;
	uint64_t end;
};

/* identity: what stands behind mappings and descriptors */

enum { TM_HANDLE_MAX = 32 };

struct tm_object {
	uint64_t inode;
	uint64_t size;	      /* bytes */
	uint64_t file_system; /* f_type of statfs(2), where it may be a tmpfs; else 0 */
	uint32_t device_major;
	uint32_t device_minor;
	uint32_t mode; /* st_mode of stat(2) */
	int32_t handle_type;
	uint32_t handle_bytes; /* 0 where its file system gives it no handle */
	int sys_errno;	       /* of a mapping: 0, or why its object could not be asked */
	unsigned char handle[32];
};

/* Asks the object behind `fd`, which may be a descriptor of O_PATH. */
int tm_object_ask(int fd, struct tm_object *ret, struct tm_error *error);
/*
 * Asks the objects behind mappings of the process that thread `tid` is of, by their links in
 * /proc/TID/map_files, which takes CAP_CHECKPOINT_RESTORE. Each has its own sys_errno.
 */
int tm_objects_mapped(int tid, const struct tm_span *spans, size_t count, struct tm_object *ret,
		      struct tm_error *error);

/* A span of addresses that shows the object's pages from `page` on. */
struct tm_view {
	uint64_t start;
	uint64_t end;
	uint64_t page;
};

/* tracee: threads under ptrace; every call from the one thread that seized */

enum tm_event_kind {
	TM_EVENT_NONE = 0,    /* nothing has happened */
	TM_EVENT_STOPPED = 1, /* stopped by an interrupt, a group stop (see signal) or its birth */
	TM_EVENT_SIGNAL = 2,  /* about to receive `signal` */
	TM_EVENT_CHILD = 3,   /* made `child` by fork or clone */
	TM_EVENT_VFORK = 4,   /* made `child` by vfork: will not stop before the next event */
	TM_EVENT_VFORK_DONE = 5,
	TM_EVENT_EXEC = 6,    /* runs a new program; its thread was `child` before */
	TM_EVENT_EXITING = 7, /* about to end; its memory still stands */
	TM_EVENT_ENDED = 8,   /* has ended: exit_code, or signal */
	TM_EVENT_SYSCALL = 9, /* at the entry or the end of a system call */
	TM_EVENT_OTHER = 10,  /* a stop that means nothing to us */
};

struct tm_event {
	int kind;
	int tid;
	int signal;
	int child;
	int exit_code;
	bool waits;  /* it stands within a call that was mended: tm_tracee_mend_call() */
	bool guards; /* it stands within one that cannot come to an end: the same */
};

/* How to wait; TM_WAIT_MEND: tm_tracee_mend_call() is called at once, where it applies. */
enum { TM_WAIT_BLOCK = 1, TM_WAIT_MEND = 2 };

/* Options of tm_tracee_seize. */
enum { TM_SEIZE_FOLLOW = 1, TM_SEIZE_KILL_WITH_TRACER = 2 };

int tm_tracee_seize(int tid, int options, struct tm_error *error);

/* A thread of a process that stands as TM_EVENT_STOPPED, and the options of its seizure. */
struct tm_stopped {
	int pid;
	int tid;
	int options;
};

int tm_tracee_interrupt(int tid, struct tm_error *error);
/*
 * The same for a thread that is within a system call of those that tm_tracee_mend_call() mends, or
 * may be: it is mended within microseconds, lest we die in between. A `sure` caller knows it is.
 */
int tm_tracee_interrupt_call(int tid, bool sure, struct tm_error *error);
/* Reports one change of any tracee, or of `tid` where it is above 0; `how`: TM_WAIT_BLOCK, .._MEND.
 */
int tm_tracee_wait(int tid, int how, struct tm_event *ret, struct tm_error *error);
/* Lets a stopped thread run on and receive `signal`, where it is not 0. */
int tm_tracee_continue(int tid, int signal, struct tm_error *error);
/* Leaves a thread in its group stop, but lets it report again. */
int tm_tracee_listen(int tid, struct tm_error *error);
int tm_tracee_detach(int tid, int signal, struct tm_error *error);
/*
 * To be called when a thread stands because it was interrupted, or is about to receive a signal
 * other than those that stop and continue. A system call that this has ended, and that had no time
 * limit, is made again when the thread runs on, unless the handler of a signal runs first. If we
 * die before this is called, it fails with EINTR. Sets `waits` if there is such a call, and
 * `guards` if the thread is about to have memory guarded (MADV_GUARD_INSTALL): under uffd-wp that
 * does not come to an end.
 */
int tm_tracee_mend_call(int tid, struct tm_event *event, struct tm_error *error);
/*
 * Makes a stopped thread execute one system call and stand exactly as before. *ret is its
 * result, or a negative errno. TM_UNSUPPORTED where the thread filters its system calls
 * (seccomp) and we may not suspend that: the filter might kill it.
 */
int tm_tracee_syscall(struct tm_stopped thread, long number, const uint64_t arguments[6],
		      int64_t *ret, struct tm_error *error);

/*
 * Adds to `resident` the pages of the view that the object holds in memory, by mincore(2)
 * within the stopped thread: for who may not open the object itself.
 */
int tm_tracee_resident(struct tm_stopped thread, const struct tm_view *view,
		       struct tm_bitmap *resident, struct tm_error *error);

/* process: what Python cannot ask the kernel for */

/* Has the kernel send `signal` to this process when its parent ends: prctl(2). */
int tm_process_die_with_parent(int signal, struct tm_error *error);
/* Sets the access time of a file, by Unix, and leaves its time of modification: utimensat(2). */
int tm_file_set_access_time(int fd, int64_t nanoseconds, struct tm_error *error);
/* Whether a program or library (ELF) has in its code what makes a userfaultfd, as far as is seen.
 */
int tm_program_may_use_userfaultfd(int fd, bool *ret, struct tm_error *error);
/* Makes this process the parent of its orphaned descendants: prctl(2). */
int tm_process_adopt_orphans(struct tm_error *error);
/* Whether two processes run in one address space, as after vfork: kcmp(2). */
int tm_process_same_space(int pid, int other, bool *ret, struct tm_error *error);
/* Whether two threads have their open files in common, as those of a process usually do. */
int tm_thread_same_files(int tid, int other, bool *ret, struct tm_error *error);
/*
 * Whether a thread holds locks of which the kernel will mark the words when the thread ends, in
 * whatever memory they are: get_robust_list(2).
 */
int tm_thread_holds_locks(int tid, bool *ret, struct tm_error *error);
/* Whether a thread that stands is within a system call that changes mappings: /proc/TID/syscall. */
int tm_thread_changes_mappings(int tid, bool *ret, struct tm_error *error);

/*
 * Whether a thread may hold pages pinned now, of which the content comes later: it runs, or sleeps
 * in a call that is not known to leave pages alone. TM_GONE where it has ended.
 */
int tm_thread_may_pin(int tid, bool *ret, struct tm_error *error);

/* A thread that is within process_vm_writev(2), to process `target` as that thread numbers it. */
struct tm_caller {
	int tid;
	int target;
};

/*
 * Lists such threads of all processes: `count` of them, of which `ret` takes the first `capacity`.
 * One that has a processor, or waits for one, cannot be told from others.
 */
int tm_find_callers(size_t capacity, struct tm_caller *ret, size_t *count, struct tm_error *error);

/*
 * Whether the kernel holds pages for anybody on this machine, whose content may come past the page
 * table: for direct input that is under way, for rings, or for devices. TM_FORBIDDEN: only root may
 * have the counts brought up to date.
 */
int tm_pins_outstanding(bool *ret, struct tm_error *error);
/* Whether pages of a process are accounted for as pinned: VmPin of /proc/PID/status. */
int tm_process_has_pinned(int pid, bool *ret, struct tm_error *error);

struct tm_open_file {
	int number;
	uint32_t mode; /* as st_mode of stat(2) */
	uint32_t device_major;
	uint32_t device_minor;
	uint32_t represented_major; /* of a device: st_rdev */
	uint32_t represented_minor;
	uint64_t inode;
};

/* Lists what thread `tid` has open: `count` files, of which `ret` takes the first `capacity`. */
int tm_open_files(int tid, size_t capacity, struct tm_open_file *ret, size_t *count,
		  struct tm_error *error);

/* tasks: threads and processes that nobody has told of */

/* A thread; a `worker` is one of the kernel's, which runs in the memory of the process. */
struct tm_task {
	int pid;
	int tid;
	bool worker;
};

/* The processes to look at, and the threads that are known, in ascending order. */
struct tm_tasks {
	const int *pids;
	size_t count;
	const int *known;
	size_t known_count;
};

/*
 * Lists the threads of the processes, and those of the children of their threads, that are not
 * known and have not ended. Returns how many there are; `ret` takes the first `capacity`. Where
 * the kernel does not list children (CONFIG_PROC_CHILDREN) these are left out.
 */
size_t tm_tasks_unknown(const struct tm_tasks *tasks, size_t capacity, struct tm_task *ret);

/* births: reports of every process that is made on this machine */

struct tm_births;

/* `maker` and `child` are processes, `time` is of CLOCK_MONOTONIC in nanoseconds. */
struct tm_birth {
	int maker;
	int child;
	uint64_t time;
};

/* TM_FORBIDDEN without the privilege to be told of all processes (CAP_PERFMON). */
int tm_births_open(struct tm_births **ret, struct tm_error *error);
void tm_births_close(struct tm_births *births);
/* A descriptor that can be read when it is time to read reports, lest some be lost. */
int tm_births_descriptor(const struct tm_births *births);
/*
 * Takes up to `capacity` reports, in the order of time by processor, not among them. *lost is
 * whether there are some that will never come.
 */
size_t tm_births_read(struct tm_births *births, size_t capacity, struct tm_birth *ret, bool *lost);

/* watch: files that are opened, or written through descriptors */

/*
 * A descriptor that reports, as struct inotify_event, when files added to it are opened, written,
 * let go by who had them open for writing (a mapping counts), or given other times.
 */
int tm_watch_open(int *ret, struct tm_error *error);
/* Watches the file behind `fd`; *ret is its number in the reports. */
int tm_watch_add(int watch, int fd, int *ret, struct tm_error *error);

/*
 * testimony: shared memory that is changed by other means than a store to an existing mapping.
 * The kernel itself counts, by BPF programs of ours, what is done by whichever process, through
 * whichever descriptor: writes, also asynchronous ones, holes, cuts, and new mappings.
 */

enum { TM_TESTIMONY_OBJECTS = 4096 };

enum tm_testimony_verdict {
	TM_TESTIMONY_UNTOUCHED = 0, /* between the last two looks, and nothing was under way */
	TM_TESTIMONY_TOUCHED = 1,   /* or pages were handed out for good */
	TM_TESTIMONY_UNKNOWN = 2,   /* not looked at before, or the kernel may have missed a call */
};

struct tm_testimony;

/*
 * Starts to have the kernel count, until tm_testimony_close() or our end. `program` is the path
 * of tidemark-testimony, which holds on to what makes the kernel do so; NULL for a copy of this
 * process, which keeps its memory for as long.
 */
int tm_testimony_open(const char *program, struct tm_testimony **ret, struct tm_error *error);
/*
 * Whether the kernel counts by now; `wait` until it does. Everything is tried once. Where it does
 * not work, *error says why: privileges, or what the kernel lacks; then close it.
 */
int tm_testimony_ready(struct tm_testimony *testimony, bool wait, bool *ret,
		       struct tm_error *error);
/* What tidemark-testimony does, with the socket that it was given. */
void tm_testimony_serve(int socket);
void tm_testimony_close(struct tm_testimony *testimony);
/* Watches the object behind `fd`; *ret is its number. Not ours to count: TM_UNSUPPORTED. */
int tm_testimony_add(struct tm_testimony *testimony, int fd, uint32_t *ret, struct tm_error *error);
int tm_testimony_remove(struct tm_testimony *testimony, uint32_t object, struct tm_error *error);
/*
 * Judges objects since this was last called for each: a tm_testimony_verdict in ret[i]. Calls of
 * this process do not count. After an error all are known not to be known.
 */
int tm_testimony_look(struct tm_testimony *testimony, const uint32_t *objects, size_t count,
		      unsigned char *ret, struct tm_error *error);

/* space: one address space under one tracker */

struct tm_space;

/* Whether `tracker` ("uffd-wp", "soft-dirty") works here, tried by a real write. */
int tm_tracker_probe(const char *tracker, struct tm_error *error);
/*
 * Opens the address space of a process through one of its threads, which only for uffd-wp has
 * to stand. TM_GONE: the thread ended, or stands as TM_EVENT_EXITING.
 */
int tm_space_open(const char *tracker, struct tm_stopped thread, struct tm_space **ret,
		  struct tm_error *error);

/* A thread to open an address space through; where `code` is not TM_OK there is no `space`. */
struct tm_opening {
	struct tm_stopped thread;
	struct tm_space *space;
	int code;
	struct tm_error error;
};

/* Opens the address spaces of several processes, which are made to work at a time. */
void tm_space_open_all(const char *tracker, struct tm_opening *openings, size_t count);
void tm_space_close(struct tm_space *space);
/* Puts a mapping under the tracker; it need not be armed yet. */
int tm_space_cover(struct tm_space *space, struct tm_span span, struct tm_error *error);
/* Forgets all writes so far within the spans, which must be covered. */
int tm_space_arm(struct tm_space *space, const struct tm_span *spans, size_t count,
		 struct tm_error *error);
/*
 * Adds to `written` the pages of the view that were stored to since the arm, and to
 * `unsure` those that the tracker cannot tell. TM_CHANGED where a part of the view is not
 * covered any more, TM_GONE where the memory is being taken down, and then nothing is sure.
 * Both bitmaps must be long enough for the view. With `rearm`, a tracker that can do so
 * forgets in the same breath each write that it reports; soft-dirty cannot.
 */
int tm_space_scan(struct tm_space *space, const struct tm_view *view, bool rearm,
		  struct tm_bitmap *written, struct tm_bitmap *unsure, struct tm_error *error);

/* The same for `count` views of one object; `changed` takes of which of them TM_CHANGED is true. */
struct tm_scan {
	struct tm_space *space;
	const struct tm_view *views;
	size_t count;
	bool rearm;
	struct tm_bitmap *written;
	struct tm_bitmap *unsure;
	bool *changed;
	int code;
	struct tm_error error;
};

/* Does scans, each with bitmaps of its own, in the threads of the pool; each has its own code. */
void tm_scan_all(struct tm_pool *pool, struct tm_scan *scans, size_t count);

enum tm_notice_kind {
	TM_NOTICE_NONE = 0,
	TM_NOTICE_MOVED = 1,	/* a mapping at `start` was moved, or mapped again: mremap(2) */
	TM_NOTICE_GIVEN = 2,	/* the pages [start, end) were given back: madvise(2) */
	TM_NOTICE_UNMAPPED = 3, /* mappings within [start, end) were taken away: munmap(2) */
};

struct tm_notice {
	int kind;
	uint64_t start;
	uint64_t end;
};

/* A descriptor to poll for notices, -1 for a tracker that has none. */
int tm_space_descriptor(const struct tm_space *space);
/*
 * The next thing that was done to a mapping under the tracker and that no scan shows. Who did
 * it, or is about to, waits until this has been asked.
 */
int tm_space_notice(struct tm_space *space, struct tm_notice *ret, struct tm_error *error);
/* Adds to `present` the pages of the view that the page table holds. */
int tm_space_present(struct tm_space *space, const struct tm_view *view, struct tm_bitmap *present,
		     struct tm_error *error);

/* pages: the content of an object, wherever it is */

enum { TM_HASH_BYTES = 16 };

/* `count` pages from `page` on are in file `fd` from byte `offset` on. */
struct tm_extent {
	uint64_t page;
	uint64_t count;
	uint64_t offset;
	int fd;
};

/*
 * Extents ascend and do not overlap; a page in none of them reads zero. The threads of `pool`
 * share in what is done to the pages; NULL for none. What is `live` are objects, or the memory of
 * processes, and can be cut off at any time: what is not there then reads zero, too.
 */
struct tm_source {
	const struct tm_extent *extents;
	size_t count;
	struct tm_pool *pool;
	bool live;
};

/*
 * Says where the pages that `which` selects stand when those of `packed`, of which they are some,
 * stand one after the other in the file `fd` from byte `offset` on: one extent for each run of
 * pages. Returns how many there are; `ret` takes the first `capacity` of them.
 */
size_t tm_extents_packed(const struct tm_bitmap *which, const struct tm_bitmap *packed, int fd,
			 uint64_t offset, size_t capacity, struct tm_extent *ret);
/* Puts extents in the order that a source wants them in: by page. */
void tm_extents_sort(struct tm_extent *extents, size_t count);
/* Reads `count` pages; `ret` has room for them. */
int tm_pages_read(const struct tm_source *source, uint64_t page, uint64_t count, unsigned char *ret,
		  struct tm_error *error);
/*
 * Writes the pages that `which` selects to the file `out`, packed, from its offset on, which is
 * moved behind them. `hashes` takes TM_HASH_BYTES for each, or is NULL.
 */
int tm_pages_pack(const struct tm_source *source, const struct tm_bitmap *which, int out,
		  unsigned char *hashes, struct tm_error *error);
/* Copies the selected pages to `out`, packed. */
int tm_pages_copy(const struct tm_source *source, const struct tm_bitmap *which, unsigned char *out,
		  struct tm_error *error);
/* Writes the selected pages to their own place in the file `out`, leaving out zero pages. */
int tm_pages_place(const struct tm_source *source, const struct tm_bitmap *which, int out,
		   struct tm_error *error);
/*
 * Has the kernel copy the selected pages to their own place in the file `out`, zero or not; those
 * that are in no extent are left as they are there. Moves the offset of `out`.
 */
int tm_pages_transfer(const struct tm_source *source, const struct tm_bitmap *which, int out,
		      struct tm_error *error);
/* XXH3-128 in canonical form of each selected page. */
int tm_pages_hash(const struct tm_source *source, const struct tm_bitmap *which,
		  unsigned char *hashes, struct tm_error *error);
/* Adds to `differs` the selected pages that are not the same in both sources. */
int tm_pages_compare(const struct tm_source *source, const struct tm_source *other,
		     const struct tm_bitmap *which, struct tm_bitmap *differs,
		     struct tm_error *error);

/* Adds to `zero` the selected pages that are all zero. */
int tm_pages_zero(const struct tm_source *source, const struct tm_bitmap *which,
		  struct tm_bitmap *zero, struct tm_error *error);
/* Adds to `data` the pages of the file `fd` that hold data, in memory, swap or on disk. */
int tm_pages_data(int fd, struct tm_bitmap *data, struct tm_error *error);
/* Adds to `born` the pages of the file `fd` that hold data, beyond those in `data`. */
int tm_pages_born(int fd, const struct tm_bitmap *data, struct tm_bitmap *born,
		  struct tm_error *error);
/*
 * Reads a page of a file through a mapping: also what stands behind the end of a file that
 * ends within it, which processes that map it share, but read(2) does not give. TM_SHORT: the file
 * ends before.
 */
int tm_page_mapped(int fd, uint64_t page, unsigned char *ret, struct tm_error *error);
/* XXH3-128 in canonical form of `bytes` bytes. */
void tm_hash(const unsigned char *data, size_t bytes, unsigned char *ret);
/* The same of a file, from its start. */
int tm_file_hash(int fd, uint64_t bytes, unsigned char *ret, struct tm_error *error);
/*
 * Adds to `differs` the pages whose hash differs, where a page that only one side selects
 * differs too. `hashes` and `other_hashes` are in the order of `which` and `other`.
 */
int tm_hashes_compare(const struct tm_bitmap *which, const unsigned char *hashes,
		      const struct tm_bitmap *other, const unsigned char *other_hashes,
		      struct tm_bitmap *differs, struct tm_error *error);

/* Adds to `found` the pages that have the hash `wanted`; `hashes` are in the order of `which`. */
int tm_hashes_find(const struct tm_bitmap *which, const unsigned char *hashes,
		   const unsigned char *wanted, struct tm_bitmap *found, struct tm_error *error);

/* window: a mapping of our own of an object. To be used by one thread at a time. */

struct tm_window {
	const unsigned char *memory;
	uint64_t pages;
};

/* Copies the pages that `which` selects to `out`, packed. TM_SHORT: the object ends before. */
int tm_window_copy(const struct tm_window *window, const struct tm_bitmap *which,
		   unsigned char *out, struct tm_error *error);
/*
 * Adds to `differs` the selected pages that are not as `source` has them, whose extents name files
 * by their place in `files`: all of them mapped. A page that cannot be read differs, be it cut off.
 * The threads of the source's pool share in it.
 */
int tm_window_compare(const struct tm_window *live, const struct tm_bitmap *which,
		      const struct tm_source *source, const struct tm_window *files,
		      size_t file_count, struct tm_bitmap *differs, struct tm_error *error);
/* Has the kernel read what the extents of such a source name, and enter it in the page table. */
int tm_files_touch(const struct tm_source *source, const struct tm_window *files, size_t file_count,
		   struct tm_error *error);
/* Has the kernel enter the selected pages in the page table, so that copying them is quick. */
int tm_window_touch(const struct tm_window *window, const struct tm_bitmap *which,
		    struct tm_error *error);

/*
 * Writes the entries of CRIU's page map that say which pages are here and which in the parent,
 * none of more than `most` pages. The bitmaps are disjoint. Returns how many bytes they take;
 * `ret` takes all of them if it has the `capacity`.
 */
size_t tm_pagemap_encode(const struct tm_bitmap *present, const struct tm_bitmap *in_parent,
			 uint64_t most, size_t capacity, unsigned char *ret);

struct tm_pagemap_most {
	uint64_t present;
	uint64_t in_parent;
};

/*
 * Reads what tm_pagemap_encode() writes, and sets no more pages than there can be at most. The
 * bitmaps are empty, and as long as the region. TM_CHANGED for anything that it does not write:
 * damage, or a page map of CRIU's.
 */
int tm_pagemap_decode(const unsigned char *bytes, size_t size, struct tm_pagemap_most most,
		      struct tm_bitmap *present, struct tm_bitmap *in_parent);

/* probe: what this kernel and these privileges allow, each tried for real */

enum tm_feature {
	TM_FEATURE_UFFD_WP = 0,
	TM_FEATURE_SOFT_DIRTY = 1,
	TM_FEATURE_PAGEMAP_SCAN = 2,
	TM_FEATURE_PAGEMAP_SCAN_SOFT_DIRTY = 3,
	TM_FEATURE_PAGEMAP_SCAN_GENERAL = 4,
	TM_FEATURE_PROCMAP_QUERY = 5,
	TM_FEATURE_MAP_FILES = 6,
	TM_FEATURE_PTRACE = 7,
	TM_FEATURE_TESTIMONY = 8,
	TM_FEATURE_COUNT = 9,
};

const char *tm_feature_name(int feature);
/* TM_OK where the feature works; otherwise *error says why it does not. */
int tm_probe(int feature, struct tm_error *error);

#endif
