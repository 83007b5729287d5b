"""Compare the restored tree with the truth, and what was dumped with what changed."""

from tidemark.steps.job import Job, run
from tidemark.steps.verify import verify


def main(job: Job) -> None:
    """Run the step."""
    before = job.optional_path("before")
    verify(job.path("restored"), job.path("image"), job.path("truth"), before, job.path("verify"))


if __name__ == "__main__":
    run(main)
