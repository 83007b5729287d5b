/* What a keeper and its watchdog share: a page that the keeper writes and the watchdog reads. */
#ifndef TIDEMARK_WATCHDOG_H
#define TIDEMARK_WATCHDOG_H

#include <stdatomic.h>
#include <stdint.h>

/* The environment variable that names both descriptors: of the page, and of the bell. */
#define TM_WATCHDOG_VARIABLE "TIDEMARK_WATCHDOG"

struct tm_watched {
	_Atomic uint64_t looked; /* counts the times that the keeper has let go who waited for it */
	_Atomic uint64_t standing; /* the number of the freeze while the workload stands, else 0 */
};

#endif
