"""report: all workloads in one HTML file, and the same figures as JSON and Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemark.errors import VerifyError
from tidemark.report import unfinished, write_report

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
        html, json = results / "report.html", results / "summary.json"
        parquet = results / "summary.parquet"
        write_report(results, runs, html, json, parquet)
        parquet.unlink()
    return why


def forget_failures(results: Path, runs: Sequence[tuple[str, int]]) -> None:
    """Remove the logs of steps that failed in a former run, which say nothing of this one."""
    for name, epochs in runs:
        for _, log in unfinished.logs(results, name, epochs):
            log.unlink()


@dataclass(frozen=True)
class Outputs:
    """Where the report and its summaries go."""

    html: Path
    json: Path
    parquet: Path


def report(results: Path, runs: Sequence[tuple[str, int]], outputs: Outputs) -> None:
    """Write the report of ``runs``: (workload, number of epochs).

    When a verification failed, the run fails here, where all of it is known; the report is then
    kept as ``report.failed.html``, since Snakemake removes what a failed job wrote.

    :raises VerifyError: naming all that failed
    """
    failed = outputs.html.with_suffix(".failed.html")
    problems = write_report(results, runs, outputs.html, outputs.json, outputs.parquet)
    if problems:
        outputs.html.rename(failed)
        raise VerifyError(f"verification failed; see {failed}: {'; '.join(problems)}")
    failed.unlink(missing_ok=True)
