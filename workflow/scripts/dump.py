"""Write the image of an epoch, its layout, and the truth that it is held against."""

from tidemark.steps.dump import Targets, dump
from tidemark.steps.job import Job, run


def main(job: Job) -> None:
    """Run the step."""
    targets = Targets(job.path("image"), job.path("layout"), job.path("truth"))
    parent = job.optional_path("parent")
    dump(job.path("keeper"), job.number("epoch"), job.path("bitmap"), parent, targets)


if __name__ == "__main__":
    run(main)
