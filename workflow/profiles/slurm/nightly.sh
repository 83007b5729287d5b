#!/bin/sh
# A run every night, as one batch job on one node, that submits the next one first:
#
#     sbatch --partition=PARTITION workflow/profiles/slurm/nightly.sh
#
# Where nothing changed it starts nothing. It never runs twice at once: a night's job waits for
# the end of the one before (singleton). `scancel --name=tidemark-nightly` ends the series.
#SBATCH --job-name=tidemark-nightly
#SBATCH --dependency=singleton
#SBATCH --cpus-per-task=2
#SBATCH --time=60
set -eu
sbatch --begin="${AGAIN:-tomorrow}" --partition="$SLURM_JOB_PARTITION" "$0"
exec tidemark run --cores "$SLURM_CPUS_ON_NODE"
