"""Do all live steps of a workload, from keep to seal."""

from tidemark.steps.fused import fused
from tidemark.steps.job import Job, run


def main(job: Job) -> None:
    """Run the steps."""
    epochs, directory = job.number("epochs"), job.path("directory")
    fused(job.text("workload"), job.path("keeper"), epochs, directory)


if __name__ == "__main__":
    run(main)
