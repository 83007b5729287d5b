"""End the workload and its keeper, and state that all live outputs are of one life."""

from tidemark.steps import live
from tidemark.steps.job import Job, run


def main(job: Job) -> None:
    """Run the step."""
    live.seal(job.path("keeper"), job.paths("lives"), job.path("live"))


if __name__ == "__main__":
    run(main)
