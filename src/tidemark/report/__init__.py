"""The report: what was used, written, dumped and verified, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tidemark.report.model import Workload


@dataclass(frozen=True)
class Outputs:
    """Where the report and its summaries go."""

    html: Path
    json: Path
    parquet: Path

    @classmethod
    def below(cls, directory: Path) -> Self:
        """Return them under their names in a run's results."""
        names = ("report.html", "summary.json", "summary.parquet")
        return cls(*(directory / name for name in names))


def write_report(
    results: Path,
    workloads: Sequence[tuple[str, int]],
    outputs: Outputs,
    config: str = "",
) -> list[str]:
    """Write the report and both summaries of ``workloads``: (name, number of epochs).

    Files that are missing or damaged become notices in their workload's section. Returns what
    failed verification, in one sentence each.

    :param config: the digest of the run's config, for the Parquet file
    :raises tidemark.errors.StorageError: when an output cannot be written
    """
    from tidemark.report.summary import write_summary_parquet

    found = _collect([(results, *workload) for workload in workloads])
    write_summary_parquet(outputs.parquet, [workload for _, workload in found], config)
    return _write(found, outputs)


def write_joint_report(workloads: Sequence[tuple[Path, str, int]], outputs: Outputs) -> list[str]:
    """Write all but the Parquet file of workloads of several runs: (results, name, epochs).

    Returns what failed verification, in one sentence each.

    :raises tidemark.errors.StorageError: when an output cannot be written
    """
    return _write(_collect(workloads), outputs)


def _collect(workloads: Sequence[tuple[Path, str, int]]) -> list[tuple[Path, Workload]]:
    from tidemark.report.collect import collect

    return [(results, collect(results, name, epochs)) for results, name, epochs in workloads]


def _write(found: Sequence[tuple[Path, Workload]], outputs: Outputs) -> list[str]:
    from tidemark.report.html import write_html
    from tidemark.report.summary import write_summary_json
    from tidemark.report.verdict import failures

    write_summary_json(outputs.json, [workload for _, workload in found])
    write_html(outputs.html, found)
    return [
        f"{workload.name}: {problem}" for _, workload in found for problem in failures(workload)
    ]
