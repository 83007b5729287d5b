"""Merge the scans of all mappings into the bitmaps of each region."""

from tidemark.steps.job import Job, run
from tidemark.steps.merge import merge


def main(job: Job) -> None:
    """Run the step."""
    merge(job.path("scan"), job.path("bitmap"))


if __name__ == "__main__":
    run(main)
