/*
 * What the restore job and a holder process say to each other, on a SOCK_SEQPACKET socket
 * that the holder has as descriptor 0: one request, one answer. A request that needs a file
 * has its descriptor beside it (SCM_RIGHTS), an answer that gives one, too.
 */
#ifndef TM_HOLDER_H
#define TM_HOLDER_H

#include <stdint.h>

enum tm_holder_operation {
	TM_HOLDER_CREATE = 1, /* a memory file of `length` bytes; the answer is its number here */
	TM_HOLDER_OPEN = 2, /* the file `number` of process `peer`; the answer is its number here */
	TM_HOLDER_MAP = 3,  /* file `number` from `offset` on, at `address` with `protection` */
	TM_HOLDER_SAVE = 4, /* write memory [address, +length) to the file beside, at `offset` */
	TM_HOLDER_STORE = 5, /* the word `value` at `address` */
	TM_HOLDER_LOAD = 6,  /* the word at `address` */
	TM_HOLDER_GIVE = 7,  /* file `number`, beside the answer */
};

struct tm_holder_request {
	uint64_t operation;
	uint64_t address;
	uint64_t length;
	uint64_t offset;
	uint64_t value;
	uint32_t protection;
	int32_t number;
	int32_t peer;
	int32_t reserved;
};

struct tm_holder_answer {
	int64_t error;	/* 0, or an errno */
	uint64_t value; /* a number of a file, or a word */
};

#endif
