"""A workload in a dozen figures: what the overview, the tiles and summary.json show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from tidemark.report.rows import rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tidemark.report.model import Workload
    from tidemark.report.rows import Row
    from tidemark.unsaved import Unsaved


@dataclass(frozen=True)
class Totals:
    """Sums over the epochs whose figures are known; None where none are.

    ``dump_bytes`` and ``full_bytes`` count epochs with a parent only: the first dump of a
    chain saves nothing and would hide what the others save. Pooled over all epochs,
    ``recall`` is the share of changed pages that were carried, ``precision`` the share of
    carried pages that had changed.
    """

    regions: int
    bytes: int | None
    used_bytes: int | None
    written: int | None
    incremental_epochs: int
    dump_bytes: int | None
    full_bytes: int | None
    running_seconds: float | None
    frozen_median: float | None
    frozen_max: float | None
    compared: int | None
    different: int | None
    missed: int | None
    recall: float | None
    precision: float | None

    @property
    def ratio(self) -> float | None:
        """Return the incremental dumps' share of full ones."""
        if self.dump_bytes is None or not self.full_bytes:
            return None
        return self.dump_bytes / self.full_bytes


def totals(workload: Workload) -> Totals:
    """Return the workload's totals. Sizes are those of its largest epoch, in bytes."""
    every = rows(workload)
    epochs = [row for row in every if row.scope == "epoch"]
    incremental = [row for row in epochs if row.full is False]
    frozen = [row.frozen_seconds for row in epochs if row.frozen_seconds is not None]
    recall, precision = _pooled(epochs)
    return Totals(
        regions=len({row.region for row in every if row.scope == "region"}),
        bytes=_most_bytes(epochs, "pages"),
        used_bytes=_most_bytes(epochs, "used"),
        written=_sum(row.written for row in epochs),
        incremental_epochs=len(incremental),
        dump_bytes=_sum(row.dump_bytes for row in incremental),
        full_bytes=_sum(row.full_bytes for row in incremental),
        running_seconds=_sum_seconds(epochs),
        frozen_median=median(frozen) if frozen else None,
        frozen_max=max(frozen, default=None),
        compared=_sum(row.compared for row in epochs),
        different=_sum(row.different for row in epochs),
        missed=_sum(row.missed for row in epochs),
        recall=recall,
        precision=precision,
    )


def unsaved(workload: Workload) -> tuple[Unsaved, ...]:
    """Return what the workload shared in any epoch and no dump holds, as it was last."""
    found: dict[tuple[str, str, int], Unsaved] = {}
    for epoch in workload.epochs:
        same: Counter[tuple[str, str]] = Counter()
        for one in epoch.manifest.unsaved if epoch.manifest else ():
            found[one.kind, one.name, same[one.kind, one.name]] = one
            same[one.kind, one.name] += 1
    return tuple(sorted(found.values()))


def _most_bytes(epochs: Sequence[Row], column: str) -> int | None:
    sizes = [
        getattr(row, column) * row.page_size
        for row in epochs
        if row.page_size is not None and getattr(row, column) is not None
    ]
    return max(sizes, default=None)


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _sum_seconds(epochs: Sequence[Row]) -> float | None:
    known = [row.running_seconds for row in epochs if row.running_seconds is not None]
    return sum(known) if known else None


def _pooled(epochs: Sequence[Row]) -> tuple[float | None, float | None]:
    """Return recall and precision over all verified epochs; 1.0 where the denominator is 0."""
    known = [row for row in epochs if row.missed is not None]
    if not known:
        return None, None
    changed = sum(row.changed or 0 for row in known)
    hits = changed - sum(row.missed or 0 for row in known)
    carried = sum(row.carried or 0 for row in known)
    return (hits / changed if changed else 1.0), (hits / carried if carried else 1.0)
