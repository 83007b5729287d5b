"""What the template shows of a workload: figures and geometry, no markup."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemark.report.charts import RATE, SECONDS, SHARE, SIZE, Chart, Series, bar_chart
from tidemark.report.drawing import Drawing, draw
from tidemark.report.heatmap import heat_maps
from tidemark.report.rows import Row, epoch_row, region_rows
from tidemark.report.totals import Totals, totals, unsaved
from tidemark.report.unfinished import EPOCH_STEPS
from tidemark.report.verdict import Verdict, judge, judge_epoch
from tidemark.unsaved import phrase_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tidemark.report.model import Cost, Epoch, Workload
    from tidemark.unsaved import Unsaved

MAX_MAPS = 12  # of a workload; more regions than this are told by their table alone


@dataclass(frozen=True)
class EpochView:
    """An epoch's totals, its regions' rows, its verdict, and its costs by step."""

    epoch: Epoch
    row: Row
    regions: tuple[Row, ...]
    verdict: Verdict
    costs: dict[str, Cost]


@dataclass(frozen=True)
class RegionView:
    """A region over all epochs; ``last`` is its row in the last epoch that has it."""

    last: Row
    mapped_by: int | None
    written: int | None
    suspect: int | None
    dump_bytes: int | None
    full_reasons: tuple[str, ...]
    shares: tuple[float | None, ...]  # written of used, by epoch


@dataclass(frozen=True)
class WorkloadView:
    """A section of the report; ``anchor`` is its id in the page."""

    anchor: str
    workload: Workload
    verdict: Verdict
    totals: Totals
    epochs: tuple[EpochView, ...]
    regions: tuple[RegionView, ...]
    commands: tuple[tuple[str, int], ...]  # of the last epoch's processes, and how many each
    steps: tuple[str, ...]
    charts: tuple[Chart, ...]
    maps: tuple[Drawing, ...]
    maps_left_out: int
    unsaved: tuple[Unsaved, ...]
    unsaved_phrase: str


def view(results: Path, workload: Workload, anchor: str) -> WorkloadView:
    """Return what the report shows of a workload; its bitmaps are read again for the heat maps."""
    epochs = tuple(_epoch(workload.name, epoch) for epoch in workload.epochs)
    page_size = next((e.row.page_size for e in epochs if e.row.page_size), 4096)
    maps = heat_maps(results, workload, page_size)
    # The busiest regions; among equals, and on the page, by number.
    busiest = sorted(maps, key=lambda one: -sum(sum(row.written) for row in one.rows))[:MAX_MAPS]
    return WorkloadView(
        anchor=anchor,
        workload=workload,
        verdict=judge(workload),
        totals=totals(workload),
        epochs=epochs,
        regions=_regions(workload),
        commands=_commands(workload),
        steps=tuple(step for step in EPOCH_STEPS if any(step in epoch.costs for epoch in epochs)),
        charts=_charts([epoch.row for epoch in epochs]),
        maps=tuple(draw(one) for one in maps if one in busiest),
        maps_left_out=len(maps) - len(busiest),
        unsaved=unsaved(workload),
        unsaved_phrase=phrase_of(one.kind for one in unsaved(workload)),
    )


def _epoch(name: str, epoch: Epoch) -> EpochView:
    regions = tuple(region_rows(name, epoch))
    costs = {cost.step: cost for cost in epoch.costs}
    return EpochView(epoch, epoch_row(name, epoch, regions), regions, judge_epoch(epoch), costs)


def _commands(workload: Workload) -> tuple[tuple[str, int], ...]:
    known = [epoch.commands for epoch in workload.epochs if epoch.commands]
    return tuple(Counter(known[-1]).items()) if known else ()


def _regions(workload: Workload) -> tuple[RegionView, ...]:
    by_number: dict[int, list[Row]] = {}
    mapped_by: dict[int, int] = {}
    for epoch in workload.epochs:
        mapped_by |= epoch.mapped_by
        for row in region_rows(workload.name, epoch):
            by_number.setdefault(row.region or 0, []).append(row)
    return tuple(
        RegionView(
            last=found[-1],
            mapped_by=mapped_by.get(number),
            written=_sum([row.written for row in found]),
            suspect=_sum([row.suspect for row in found]),
            dump_bytes=_sum([row.dump_bytes for row in found]),
            full_reasons=tuple(sorted({row.full_reason for row in found if row.full_reason})),
            shares=_shares(found, len(workload.epochs)),
        )
        for number, found in sorted(by_number.items())
    )


def _shares(found: Sequence[Row], epochs: int) -> tuple[float | None, ...]:
    shares = {row.epoch: _ratio(row.written, row.used) for row in found}
    return tuple(shares.get(epoch) for epoch in range(epochs))


def _ratio(part: int | None, whole: int | None) -> float | None:
    if part is None or whole is None:
        return None
    return part / whole if whole else 0.0


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _charts(rows: Sequence[Row]) -> tuple[Chart, ...]:
    written = [_ratio(row.written, row.used) for row in rows]
    return tuple(
        bar_chart(series)
        for series in (
            Series("Written", "share of the used pages", SHARE, written),
            Series(
                "Write rate",
                "pages written per second of running time",
                RATE,
                [row.written_per_second for row in rows],
            ),
            Series(
                "Dump size",
                "outline: the same dump in full",
                SIZE,
                [row.dump_bytes for row in rows],
                [row.full_bytes for row in rows],
                "in full",
            ),
            Series(
                "Frozen",
                "how long the workload stood still",
                SECONDS,
                [row.frozen_seconds for row in rows],
            ),
        )
    )
