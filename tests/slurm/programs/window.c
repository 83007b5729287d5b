/*
 * An MPI program whose ranks share a window on one node, and write it round by round.
 *
 * usage: window PAGES ROUNDS EXIT_CODE FILE
 *
 * Each rank owns PAGES pages. In round r it writes r to every third word of those pages whose
 * number has the remainder r of 4. After ROUNDS it says "done", and all wait for FILE to appear.
 */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PAGE_WORDS = 512, STRIDE = 3, TURNS = 4 };

static void write_round(uint64_t *own, long pages, long round, int rank)
{
	for (long page = round % TURNS; page < pages; page += TURNS)
		for (long word = 0; word < PAGE_WORDS; word += STRIDE)
			own[page * PAGE_WORDS + word] = ((uint64_t)rank << 32) + (uint64_t)round;
}

int main(int argc, char **argv)
{
	MPI_Init(&argc, &argv);
	if (argc != 5)
		MPI_Abort(MPI_COMM_WORLD, 2);
	long pages = atol(argv[1]), rounds = atol(argv[2]);
	int rank;
	uint64_t *own;
	MPI_Win window;
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Win_allocate_shared(pages * PAGE_WORDS * (MPI_Aint)sizeof(*own), sizeof(*own),
				MPI_INFO_NULL, MPI_COMM_WORLD, &own, &window);
	for (long i = 0; i < pages * PAGE_WORDS; i++)
		own[i] = 0;
	for (long round = 1; round <= rounds; round++) {
		write_round(own, pages, round, rank);
		MPI_Barrier(MPI_COMM_WORLD);
		usleep(1000);
	}
	if (rank == 0) {
		puts("done");
		fflush(stdout);
	}
	while (access(argv[4], F_OK) != 0)
		usleep(10000);
	MPI_Win_free(&window);
	MPI_Finalize();
	return rank == 0 ? atoi(argv[3]) : 0;
}
