"""The report: what was used, written, dumped and verified, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_report(
    results: Path,
    workloads: Sequence[tuple[str, int]],
    html: Path,
    summary_json: Path,
    summary_parquet: Path,
) -> list[str]:
    """Write the report and both summaries of ``workloads``: (name, number of epochs).

    Files that are missing or damaged become notices in their workload's section. Returns what
    failed verification, in one sentence each.

    :raises tidemark.errors.StorageError: when an output cannot be written
    """
    from tidemark.report.collect import collect
    from tidemark.report.html import write_html
    from tidemark.report.summary import (
        write_summary_json,
        write_summary_parquet,
    )
    from tidemark.report.verdict import failures

    collected = [collect(results, name, epochs) for name, epochs in workloads]
    write_summary_json(summary_json, collected)
    write_summary_parquet(summary_parquet, collected)
    write_html(html, results, collected)
    return [
        f"{workload.name}: {problem}" for workload in collected for problem in failures(workload)
    ]
