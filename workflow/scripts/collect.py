"""Have the keeper scan the frozen workload: what was written, mapping by mapping."""

from tidemark.steps.collect import collect
from tidemark.steps.job import Job, run


def main(job: Job) -> None:
    """Run the step."""
    collect(job.path("keeper"), job.number("epoch"), job.path("scan"))


if __name__ == "__main__":
    run(main)
