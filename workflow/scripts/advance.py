"""Have the keeper let the workload run for its quantum, and freeze it again."""

from tidemark.steps import live
from tidemark.steps.job import Job, run


def main(job: Job) -> None:
    """Run the step."""
    live.advance(job.path("keeper"), job.number("epoch"), job.path("advance"))


if __name__ == "__main__":
    run(main)
