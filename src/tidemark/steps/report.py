"""report: all workloads in one HTML file, and the same figures as JSON and Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemark.errors import VerifyError
from tidemark.report import write_report

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


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
