"""Start the keeper of a workload; it has the workload ready and frozen when this ends."""

from tidemark.steps import live
from tidemark.steps.job import Job, run


def main(job: Job) -> None:
    """Run the step."""
    live.keep(job.text("workload"), job.path("keeper"))


if __name__ == "__main__":
    run(main)
