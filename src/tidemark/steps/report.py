"""report: all workloads in one HTML file, and the same figures as JSON and Parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemark.errors import VerifyError
from tidemark.report import Outputs, unfinished, write_report

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def report_unfinished(results: Path, runs: Sequence[tuple[str, int]]) -> list[str]:
    """Report of a run that failed; return why each workload did not get to its end.

    The rule's outputs stay incomplete, so that the next run makes all of them again.
    """
    why = [
        f"workload {name} did not get to its end: {reason}"
        for name, epochs in runs
        for reason in unfinished.reasons(results, name, epochs)
    ]
    if why:
        outputs = Outputs.below(results)
        write_report(results, runs, outputs)
        outputs.parquet.unlink()
    return why


def forget_failures(results: Path, runs: Sequence[tuple[str, int]]) -> None:
    """Remove the logs of steps that failed in a former run, which say nothing of this one."""
    for name, epochs in runs:
        for _, log in unfinished.logs(results, name, epochs):
            log.unlink()


def report(results: Path, runs: Sequence[tuple[str, int]], outputs: Outputs, config: str) -> None:
    """Write the report of ``runs``: (workload, number of epochs), of the config with this digest.

    When a verification failed, the run fails here, where all of it is known; the report is then
    kept as ``report.failed.html``, since Snakemake removes what a failed job wrote.

    :raises VerifyError: naming all that failed
    """
    failed = outputs.html.with_suffix(".failed.html")
    problems = write_report(results, runs, outputs, config)
    if problems:
        outputs.html.rename(failed)
        raise VerifyError(f"verification failed; see {failed}: {'; '.join(problems)}")
    failed.unlink(missing_ok=True)
