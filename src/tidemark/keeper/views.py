"""Views - stretches of addresses that show a region's pages - and their intersections."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tidemark.keeper.region import Region
    from tidemark.native.bitmap import Run


@dataclass(frozen=True)
class View:
    """Addresses [start, end) that show the pages of ``region`` from ``page`` on."""

    start: int
    end: int
    page: int
    region: Region

    @property
    def count(self) -> int:
        """The length in pages."""
        return (self.end - self.start) // PAGE_SIZE

    @property
    def base(self) -> int:
        """The address at which page 0 would be: the same for views of one mapping."""
        return self.start - self.page * PAGE_SIZE

    def part(self, start: int, end: int) -> View:
        """Return the part of the view within [start, end), which overlaps it."""
        start, end = max(start, self.start), min(end, self.end)
        return View(start, end, self.page + (start - self.start) // PAGE_SIZE, self.region)

    def pages(self, runs: Iterable[Run]) -> Iterator[View]:
        """Yield the parts of the view that show the given runs of pages."""
        for first, count in runs:
            low, high = max(first, self.page), min(first + count, self.page + self.count)
            if low < high:
                yield self.part(self.base + low * PAGE_SIZE, self.base + high * PAGE_SIZE)

    def shown(self, pages: int) -> Bitmap:
        """Return the pages that it shows of the first ``pages`` of its region, maybe none."""
        end = min(self.page + self.count, pages)
        return Bitmap(pages, [(self.page, end - self.page)] if self.page < end else [])

    def shows_the_same(self, other: View) -> bool:
        """Return whether both show the same page wherever they overlap."""
        return self.region is other.region and self.base == other.base


class Overlaps:
    """Finds, among views of one address space, those that overlap a given one."""

    def __init__(self, views: Iterable[View]) -> None:
        self._views = sorted(views, key=lambda view: view.start)
        self._ends = [view.end for view in self._views]

    def of(self, view: View) -> Iterator[View]:
        """Yield the parts of ``view`` where one of ours shows the same pages, ascending."""
        for index in range(bisect.bisect_right(self._ends, view.start), len(self._views)):
            other = self._views[index]
            if other.start >= view.end:
                return
            if view.shows_the_same(other):
                yield view.part(other.start, other.end)


def common(views: Iterable[View], others: Iterable[View]) -> list[View]:
    """Return the parts of ``views`` where one of ``others`` shows the same pages.

    The views of each list are of one address space, so they do not overlap one another.
    """
    overlaps = Overlaps(others)
    return [part for view in views for part in overlaps.of(view)]


def difference(views: Iterable[View], others: Iterable[View]) -> list[View]:
    """Return the parts of ``views`` where none of ``others`` shows the same pages."""
    overlaps = Overlaps(others)
    left = []
    for view in views:
        start = view.start
        for part in overlaps.of(view):
            if start < part.start:
                left.append(view.part(start, part.start))
            start = part.end
        if start < view.end:
            left.append(view.part(start, view.end))
    return left
