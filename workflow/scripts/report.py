"""Report on all workloads: one HTML file, and the same figures as JSON and Parquet."""

from tidemark.report import Outputs
from tidemark.steps.job import Job, run
from tidemark.steps.report import report


def main(job: Job) -> None:
    """Run the step."""
    runs = [word.split(":") for word in job.text("runs").split()]
    outputs = Outputs(job.path("html"), job.path("json"), job.path("parquet"))
    named = [(name, int(epochs)) for name, epochs in runs]
    report(job.path("results"), named, outputs, job.text("config"))


if __name__ == "__main__":
    run(main)
