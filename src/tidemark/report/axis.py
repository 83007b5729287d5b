"""Which pages the columns of a heat map stand for.

A column is ``width`` pages, a power of two, and begins at a multiple of it, so that every
column of an axis is one of the region's ``page // width``. An axis shows runs of such
columns: all of them, or, for a region that is mostly empty, all but the long empty stretches.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tidemark.report.bitmaps import CHUNK_BYTES, CHUNK_PAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tidemark.report.bitmaps import Chunks

# More columns than this are narrower than a pixel on a phone, and would vanish there.
MAX_COLUMNS = 256
GRANULE = 64  # pages; the precision to which empty stretches are found: one 64-bit word
_MAX_CUTS = 16
_CUT_IF_LONGER = 1 / 16  # of what is left of the region
_CUT_IF_SAVING = 3 / 4  # of the region: a mostly used region is shown whole
Interval = tuple[int, int]  # first page, end


@dataclass(frozen=True)
class Axis:
    """Columns of ``width`` pages over a region of ``pages``; ``runs`` of [first, end) columns."""

    pages: int
    width: int
    runs: tuple[Interval, ...]

    @property
    def columns(self) -> int:
        """The number of columns that are shown."""
        return sum(end - first for first, end in self.runs)

    @property
    def breaks(self) -> tuple[int, ...]:
        """Where columns are left out: each as the number of shown columns before it."""
        ends = [(0, 0), *self.runs, (-(-self.pages // self.width), 0)]
        shown, found = 0, []
        for (_, end), (first, last) in pairwise(ends):
            if first > end:
                found.append(shown)
            shown += last - first
        return tuple(found)

    @property
    def skipped(self) -> int:
        """The number of pages that are not shown; none of them is used or written."""
        return self.pages - sum(self.column_pages(column) for column in self.shown())

    def shown(self) -> Iterator[int]:
        """Yield the columns that are shown, ascending."""
        for first, end in self.runs:
            yield from range(first, end)

    def column_pages(self, column: int) -> int:
        """Return how many pages a column stands for: the region's last may be a short one."""
        return min(self.width, self.pages - column * self.width)


def fit_axis(pages: int, occupied: Chunks, limit: int = MAX_COLUMNS) -> Axis:
    """Return the finest axis of at most ``limit`` columns that shows every occupied page."""
    extents = _extents(pages, _intervals(pages, occupied)) if pages > limit else [(0, pages)]
    width = 1
    while True:
        runs = _merge([(first // width, -(-end // width)) for first, end in extents])
        if sum(end - first for first, end in runs) <= limit:
            return Axis(pages, width, tuple(runs))
        width *= 2


def _intervals(pages: int, occupied: Chunks) -> Iterator[Interval]:
    """Yield the granules with a set bit, as intervals that ascend; neighbours are not joined."""
    for index in sorted(occupied):
        words = memoryview(occupied[index].to_bytes(CHUNK_BYTES, "little")).cast("Q")
        for word, bits in enumerate(words):
            if bits:
                first = index * CHUNK_PAGES + word * GRANULE
                yield first, min(first + GRANULE, pages)


def _extents(pages: int, intervals: Iterator[Interval]) -> list[Interval]:
    """Return what is left of the region without its longest empty stretches."""
    gaps, end = [], 0
    for first, last in intervals:
        if first > end:
            gaps.append((end, first))
        end = last
    if end < pages:
        gaps.append((end, pages))
    left, cuts = pages, []
    for first, last in sorted(gaps, key=lambda gap: gap[0] - gap[1])[:_MAX_CUTS]:
        if last - first <= left * _CUT_IF_LONGER:
            break
        cuts.append((first, last))
        left -= last - first
    if not 0 < left <= pages * (1 - _CUT_IF_SAVING):
        return [(0, pages)]
    return _complement(pages, sorted(cuts))


def _complement(pages: int, cuts: list[Interval]) -> list[Interval]:
    edges = [0, *(edge for cut in cuts for edge in cut), pages]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [(first, end) for first, end in pairs if first < end]


def _merge(runs: list[Interval]) -> list[Interval]:
    """Return ascending runs with those joined that touch or overlap."""
    merged: list[Interval] = []
    for first, end in runs:
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return merged
