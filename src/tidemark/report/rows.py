"""The rows of the summary, and the sums that the tables show. Columns: see summary.py."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tidemark.report.model import (
        Advance,
        Cost,
        Epoch,
        Manifest,
        RegionCounts,
        RegionDump,
        Verify,
        Workload,
    )


@dataclass(frozen=True)
class Reason:
    """Suspect pages under one reason."""

    reason: str
    pages: int


@dataclass(frozen=True)
class Row:
    """One region in one epoch, or an epoch's totals."""

    workload: str
    epoch: int
    scope: str
    region: int | None = None
    kind: str | None = None
    name: str | None = None
    tracker: str | None = None
    page_size: int | None = None
    pages: int | None = None
    used: int | None = None
    dirty: int | None = None
    suspect: int | None = None
    suspect_reasons: tuple[Reason, ...] = ()
    settled: int | None = None
    settled_changed: int | None = None
    unchanged: int | None = None
    audited: int | None = None
    unsettled: int | None = None
    written: int | None = None
    present: int | None = None
    in_parent: int | None = None
    cleared: int | None = None
    carried: int | None = None
    full: bool | None = None
    full_reason: str | None = None
    dump_bytes: int | None = None
    full_bytes: int | None = None
    image_bytes: int | None = None
    unsaved: int | None = None
    running_seconds: float | None = None
    freeze_seconds: float | None = None
    frozen_seconds: float | None = None
    written_per_second: float | None = None
    compared: int | None = None
    different: int | None = None
    changed: int | None = None
    missed: int | None = None
    recall: float | None = None
    precision: float | None = None
    step_seconds: float | None = None
    step_cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None


# What adds up over the regions of an epoch.
_SUMMED = (
    *("pages", "used", "dirty", "suspect", "settled", "settled_changed", "unsettled", "written"),
    *("unchanged", "audited"),
    *("present", "in_parent", "cleared", "carried", "dump_bytes", "full_bytes"),
)


def rows(workload: Workload) -> list[Row]:
    """Return all rows of a workload: per epoch the regions by number, then the totals."""
    found = []
    for epoch in workload.epochs:
        regions = region_rows(workload.name, epoch)
        found += [*regions, epoch_row(workload.name, epoch, regions)]
    return found


def region_rows(name: str, epoch: Epoch) -> list[Row]:
    """Return a row for each region that the epoch's bitmaps or manifest know."""
    counts = {region.number: region for region in epoch.bitmaps or ()}
    dumps = {region.number: region for region in epoch.manifest.regions} if epoch.manifest else {}
    found = []
    for number in sorted(counts.keys() | dumps.keys()):
        row = Row(name, epoch.number, "region", region=number, name=epoch.names.get(number))
        if epoch.manifest:
            row = replace(row, tracker=epoch.manifest.tracker, page_size=epoch.manifest.page_size)
        if number in counts:
            row = _with_counts(row, counts[number])
        if number in dumps:
            row = _with_dump(row, dumps[number])
        found.append(row)
    return found


def _with_counts(row: Row, counts: RegionCounts) -> Row:
    return replace(
        row,
        kind=counts.kind,
        pages=counts.pages,
        used=counts.used,
        dirty=counts.dirty,
        suspect=counts.suspect,
        suspect_reasons=tuple(Reason(*item) for item in counts.reasons.items()),
        # Until the manifest says what the suspects were, only a lack of them is an answer.
        written=None if counts.suspect else counts.dirty,
    )


def _with_dump(row: Row, dump: RegionDump) -> Row:
    size = row.page_size or 0
    unsettled = None if row.suspect is None else max(row.suspect - dump.settled, 0)
    return replace(
        row,
        settled=dump.settled,
        settled_changed=dump.settled_changed,
        unchanged=dump.unchanged,
        audited=dump.audited,
        unsettled=unsettled,
        written=None if row.dirty is None or unsettled else row.dirty + dump.settled_changed,
        present=dump.present,
        in_parent=dump.in_parent,
        cleared=dump.cleared,
        carried=dump.present + dump.cleared,
        full=dump.full,
        full_reason=dump.full_reason,
        dump_bytes=dump.present * size,
        full_bytes=(dump.present + dump.in_parent) * size,
    )


def epoch_row(name: str, epoch: Epoch, regions: Sequence[Row]) -> Row:
    """Return the totals of an epoch: sums over its regions, and what is only known of it all."""
    sums: dict[str, Any] = {c: _sum([getattr(row, c) for row in regions]) for c in _SUMMED}
    row = Row(
        name,
        epoch.number,
        "epoch",
        suspect_reasons=_reasons(regions),
        frozen_seconds=epoch.frozen_seconds,
        **sums,
    )
    if epoch.manifest:
        row = _with_manifest(row, epoch.manifest)
    if epoch.advance:
        row = _with_advance(row, epoch.advance)
    if epoch.verify:
        row = _with_verify(row, epoch.verify)
    return _with_costs(row, epoch.costs) if epoch.costs else row


def _with_manifest(row: Row, manifest: Manifest) -> Row:
    return replace(
        row,
        tracker=manifest.tracker,
        page_size=manifest.page_size,
        full=not manifest.has_parent,
        image_bytes=manifest.image_bytes,
        unsaved=len(manifest.unsaved),
    )


def _with_advance(row: Row, advance: Advance) -> Row:
    running = advance.running_seconds
    return replace(
        row,
        running_seconds=running,
        freeze_seconds=advance.freeze_seconds,
        written_per_second=row.written / running if running and row.written is not None else None,
    )


def _with_verify(row: Row, verify: Verify) -> Row:
    return replace(
        row,
        carried=verify.dirty if row.carried is None else row.carried,
        compared=verify.pages,
        different=verify.different,
        changed=verify.changed,
        missed=verify.missed,
        recall=verify.recall,
        precision=verify.precision,
    )


def _with_costs(row: Row, costs: Sequence[Cost]) -> Row:
    return replace(
        row,
        step_seconds=sum(cost.seconds for cost in costs),
        step_cpu_seconds=sum(cost.cpu_seconds for cost in costs),
        peak_memory_bytes=max(cost.peak_memory_bytes for cost in costs),
    )


def _reasons(regions: Sequence[Row]) -> tuple[Reason, ...]:
    sums: dict[str, int] = {}
    for row in regions:
        for reason in row.suspect_reasons:
            sums[reason.reason] = sums.get(reason.reason, 0) + reason.pages
    return tuple(Reason(*item) for item in sorted(sums.items()))


def _sum(values: Sequence[int | None]) -> int | None:
    """Return the sum, or None where a part of it, or all, is unknown: no sum is half true."""
    known = [value for value in values if value is not None]
    return sum(known) if values and len(known) == len(values) else None
