/* What the files about the kernel's testimony share. */
#ifndef TM_TESTIMONY_H
#define TM_TESTIMONY_H

#include "bpf_program.h"
#include "btf.h"

enum { TM_TESTIMONY_PROGRAMS = 32 };

/* What the programs count of one object. They share these with us, at `area` below. */
struct tm_tally {
	uint64_t entered; /* calls that change or map the object */
	uint64_t left;	  /* of these, ended */
	uint64_t taken;	  /* pages were handed out for long: they may change at any time */
	uint32_t who;	  /* the process that made the last call, in the first PID namespace */
	uint32_t spare;
};

struct tm_tally_area {
	uint32_t self; /* our process, whose own calls are not counted */
	uint32_t spare[7];
	struct tm_tally tallies[TM_TESTIMONY_OBJECTS]; /* the first is of an object of our own */
};

/* The key by which the programs find an object's tally. */
struct tm_object_key {
	uint64_t device; /* as the kernel writes it */
	uint64_t inode;
};

/* Where the programs count, and by what they find it. */
struct tm_testimony_maps {
	int objects; /* struct tm_object_key to a number of 8 bytes: the tally's */
	int area;    /* one struct tm_tally_area */
};

/* The programs that the kernel runs for us. They go when `links` are closed. */
struct tm_testimony_programs {
	int programs[TM_TESTIMONY_PROGRAMS];
	int links[TM_TESTIMONY_PROGRAMS];
	size_t count;
	bool huge; /* they count what is done to huge pages (hugetlbfs), too */
};

/* Has the kernel count from now on. What was attached before a failure stays so. */
int tm_testimony_attach(struct tm_testimony_maps maps, struct tm_testimony_programs *ret,
			struct tm_error *error);

/*
 * What the process that holds the links answers when all is attached, or cannot be. With it come
 * the descriptors of both maps and of the programs.
 */
struct tm_testimony_answer {
	struct tm_error error; /* code TM_OK: there is none */
	uint32_t programs;
	bool huge;
};

/*
 * What a file of our own should have counted after all has been tried on it, and nothing else
 * was done to it.
 */
struct tm_trial {
	uint64_t entered;
	uint64_t left;
};

/*
 * Does once to a file everything that is to be counted. TM_UNSUPPORTED where something was not;
 * else *ret is how much the tally grew.
 */
int tm_testimony_try(int fd, const struct tm_tally *tally, struct tm_trial *ret,
		     struct tm_error *error);

#endif
