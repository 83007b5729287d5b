"""summary.json and summary.parquet: the report's figures for programs.

One row per workload, epoch and region (``scope`` is "region"), and one per workload and epoch
with the totals over its regions (``scope`` is "epoch"). Null: not known, or not of this scope.

==================  =====================================================================
column              meaning
==================  =====================================================================
schema              1; grows when a column changes its meaning
workload, epoch     the workload's name; the epoch's number, from 0
scope               "region" or "epoch"
region, kind, name  the region's canonical number, kind and name; null in totals
tracker             how writes were seen, from the dump's manifest
page_size           bytes
pages               size of the region
used                pages that exist and are not known to be zero
dirty               pages stored to since the clear, as far as the tracker vouches
suspect             pages that the tracker could not vouch for
suspect_reasons     suspects by reason; one page may count under several
settled             suspects that were compared with the parent dump
settled_changed     those of them that differed
unchanged           dirty pages that were compared, found as in the parent, and left to it
audited             pages called clean that were compared with the parent all the same
unsettled           suspects that nothing was there to be compared with: the dump was full
written             dirty + settled_changed; null where there are unsettled pages
present             pages whose content this dump holds
in_parent           pages whose content the parent dump holds
cleared             pages that the parent has and that are zero or holes now
carried             present + cleared: what the dump carries anew
full, full_reason   dumped without a parent; why, where there was one
dump_bytes          present, in bytes
full_bytes          present + in_parent, in bytes: the same dump without a parent
image_bytes         the image's files, page maps included, without its manifest (epoch only)
unsaved             objects that the workload shared and that are in no dump (epoch only)
running_seconds     how long the workload ran (epoch only)
freeze_seconds      from the first interrupt until all had stopped (epoch only)
frozen_seconds      how long the workload then stood still (epoch only)
written_per_second  written / running_seconds (epoch only)
compared            page comparisons that verify made (epoch only)
different           restored pages that differ from the truth (epoch only)
changed, missed     pages that changed; those of them not carried (epoch only)
recall, precision   of carried against changed (epoch only)
step_seconds        wall clock of the epoch's jobs together (epoch only)
step_cpu_seconds    their CPU seconds (epoch only)
peak_memory_bytes   of the greediest of them (epoch only)
==================  =====================================================================
"""

from __future__ import annotations

import io
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from tidemark import __version__
from tidemark.files import PUBLIC, SCHEMA, write_bytes, write_json
from tidemark.report.rows import Row, rows
from tidemark.report.totals import totals, unsaved
from tidemark.report.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from polars import DataFrame

    from tidemark.report.model import Workload


def write_summary_json(path: Path, workloads: Sequence[Workload]) -> None:
    """Write summary.json: per workload the verdict and totals, and the rows of all.

    :raises tidemark.errors.StorageError: when ``path`` cannot be written
    """
    every = [asdict(row) for workload in workloads for row in rows(workload)]
    write_json(path, {"workloads": [_workload(one) for one in workloads], "rows": every}, PUBLIC)


def _workload(workload: Workload) -> dict[str, Any]:
    verdict, live = judge(workload), workload.live
    return {
        "workload": workload.name,
        "state": verdict.state,
        "headline": verdict.headline,
        "problems": verdict.problems,
        "notices": workload.notices,
        "epochs": len(workload.epochs),
        "tracker": live and live.tracker,
        "tracker_reason": live and live.tracker_reason,
        "machine": live and asdict(live.machine),
        "totals": asdict(totals(workload)),
        "unsaved": [one.to_json() for one in unsaved(workload)],
    }


def write_summary_parquet(path: Path, workloads: Sequence[Workload], config: str) -> None:
    """Write summary.parquet: the rows of summary.json, typed, with ``schema`` in front.

    Its own metadata tell what made it: ``tidemark``, the version, and ``config``, a digest.

    :raises tidemark.errors.StorageError: when ``path`` cannot be written
    """
    import polars

    every = [{"schema": SCHEMA, **asdict(row)} for one in workloads for row in rows(one)]
    write_frame(path, polars.DataFrame(every, schema=_polars_schema()), config)


def write_frame(path: Path, frame: DataFrame, config: str) -> None:
    """Write rows as summary.parquet, made from the config with this digest.

    :raises tidemark.errors.StorageError: when ``path`` cannot be written
    """
    content = io.BytesIO()
    frame.write_parquet(content, metadata={"tidemark": __version__, "config": config})
    write_bytes(path, content.getvalue(), PUBLIC)


def _polars_schema() -> dict[str, Any]:
    """Return the polars type of every column, from the annotations of :class:`Row`."""
    import polars

    reasons = polars.List(polars.Struct({"reason": polars.String, "pages": polars.UInt64}))
    types: dict[str, Any] = {"str": polars.String, "int": polars.UInt64, "float": polars.Float64}
    types |= {"bool": polars.Boolean, "tuple[Reason, ...]": reasons}
    named = {field.name: types[str(field.type).removesuffix(" | None")] for field in fields(Row)}
    return {"schema": polars.UInt32, **named}
