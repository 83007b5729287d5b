/*
 * A tree of processes that share memory, write to it in rounds, and can check all of it.
 *
 * usage: rounds anonymous|sysv PAGES WRITERS STATUS [leave]
 *
 * SIGUSR1 begins a round: each writer stores to its share of the pages that belong to that round.
 * With `leave` the writers are born for each round, and exit after it. SIGUSR2 begins a check of
 * every page. What came of either is written to the file STATUS. Page 0 is for orders. Nothing
 * is held open, and between rounds nothing is written: so CRIU may dump it at any moment.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, WORDS = PAGE / 8 };

struct orders {
	_Atomic unsigned round;
	_Atomic unsigned done;
};

struct plan {
	unsigned pages;
	unsigned writers;
	const char *status;
	uint64_t *memory;
};

static uint64_t *share(const char *kind, unsigned pages)
{
	size_t size = (size_t)pages * PAGE;
	void *memory;

	if (strcmp(kind, "anonymous") == 0) {
		memory =
			mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	} else {
		int segment = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);

		memory = shmat(segment, NULL, 0);
	}
	if (memory == (void *)-1)
		exit(3);
	return memory;
}

/* All pages in round 1, every fourth after that. */
static int belongs(unsigned page, unsigned round)
{
	return page > 0 && round > 0 && (round == 1 || page % 4 == round % 4);
}

static uint64_t word_of(unsigned page, unsigned round, unsigned word)
{
	return (uint64_t)round << 48 | (uint64_t)page << 16 | word;
}

static void write_share(const struct plan *plan, unsigned writer, unsigned round)
{
	for (unsigned page = 1; page < plan->pages; page++)
		if (page % plan->writers == writer && belongs(page, round))
			for (unsigned word = 0; word < WORDS; word++)
				plan->memory[(size_t)page * WORDS + word] =
					word_of(page, round, word);
}

static void pause_briefly(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

static _Noreturn void obey(const struct plan *plan, unsigned writer)
{
	struct orders *orders = (struct orders *)plan->memory;
	pid_t parent = getppid();

	for (unsigned round = 0; getppid() == parent; pause_briefly()) {
		if (orders->round == round)
			continue;
		round = orders->round;
		write_share(plan, writer, round);
		orders->done++;
	}
	_exit(0);
}

static void start_writer(const struct plan *plan, unsigned writer, unsigned round)
{
	pid_t child = fork();

	if (child < 0)
		exit(4);
	if (child > 0)
		return;
	if (!round)
		obey(plan, writer);
	write_share(plan, writer, round);
	_exit(0);
}

static void do_round(const struct plan *plan, unsigned round, int leave)
{
	struct orders *orders = (struct orders *)plan->memory;

	for (unsigned writer = 0; leave && writer < plan->writers; writer++)
		start_writer(plan, writer, round);
	while (leave && wait(NULL) > 0)
		continue;
	orders->done = 0;
	orders->round = round;
	while (!leave && orders->done < plan->writers)
		pause_briefly();
}

/* The first page that is not what it was written as; 0 where there is none. */
static unsigned find_wrong(const struct plan *plan, unsigned round)
{
	for (unsigned page = 1; page < plan->pages; page++) {
		unsigned last = round;

		while (last && !belongs(page, last))
			last--;
		for (unsigned word = 0; word < WORDS; word++) {
			uint64_t expected = last ? word_of(page, last, word) : 0;

			if (plan->memory[(size_t)page * WORDS + word] != expected)
				return page;
		}
	}
	return 0;
}

static void tell(const struct plan *plan, const char *what, unsigned number)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s.new", plan->status);
	file = fopen(path, "w");
	if (!file)
		exit(5);
	fprintf(file, "%s %u\n", what, number);
	fclose(file);
	rename(path, plan->status);
}

int main(int count, char **arguments)
{
	struct plan plan;
	sigset_t orders;
	int leave = count > 5;

	if (count < 5)
		return 2;
	plan.pages = (unsigned)atoi(arguments[2]);
	plan.writers = (unsigned)atoi(arguments[3]);
	plan.status = arguments[4];
	plan.memory = share(arguments[1], plan.pages);
	sigemptyset(&orders);
	sigaddset(&orders, SIGUSR1);
	sigaddset(&orders, SIGUSR2);
	sigprocmask(SIG_BLOCK, &orders, NULL);
	for (unsigned writer = 0; !leave && writer < plan.writers; writer++)
		start_writer(&plan, writer, 0);
	tell(&plan, "ready", 0);
	for (unsigned round = 0;;) {
		int order = sigwaitinfo(&orders, NULL);

		if (order == SIGUSR1) {
			do_round(&plan, ++round, leave);
			tell(&plan, "round", round);
		} else if (order == SIGUSR2) {
			unsigned wrong = find_wrong(&plan, round);

			tell(&plan, wrong ? "wrong" : "right", wrong ? wrong : round);
		}
	}
}
