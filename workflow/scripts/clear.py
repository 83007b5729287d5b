"""Begin an epoch: have the keeper arm the trackers."""

from tidemark.steps import live
from tidemark.steps.job import Job, run


def main(job: Job) -> None:
    """Run the step."""
    live.clear(job.path("keeper"), job.number("epoch"), job.path("cleared"))


if __name__ == "__main__":
    run(main)
