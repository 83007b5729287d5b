"""Restore an epoch's image as a tree of processes, and save what each of them reads."""

from tidemark.steps.job import Job, run
from tidemark.steps.restore import restore


def main(job: Job) -> None:
    """Run the step."""
    restore(job.path("image"), job.path("layout"), job.path("restored"))


if __name__ == "__main__":
    run(main)
