"""Report on all workloads: one HTML file, and the same figures as JSON and Parquet."""

from tidemark.files import read_json
from tidemark.report import Outputs
from tidemark.steps.job import Job, run
from tidemark.steps.report import report


def main(job: Job) -> None:
    """Run the step."""
    runs = [(name, epochs) for name, epochs in read_json(job.path("runs"))["runs"]]
    outputs = Outputs(job.path("html"), job.path("json"), job.path("parquet"))
    report(job.path("results"), runs, outputs, job.text("config"))


if __name__ == "__main__":
    run(main)
