"""Copying while the workload runs: what is not written again need not be copied while it stands.

The tracker tells what was written so far and forgets it, and then those pages are copied. One
that is written while it is copied, or later, is told again when the workload stands, and copied
again. What was pinned when the tracker forgot it is not told again when its content comes: so
pages are copied when all that was pinned has its content (:mod:`grace`); where that cannot be
known, each copy is compared with its page while the workload stands (:mod:`inplace`). So what is
taken is the state at the freeze, and the workload stands for what it wrote during the copy,
however much it had written before.

This takes a tracker that tells and forgets in one breath: asynchronous write-protection.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tidemark.keeper.grace import has_passed
from tidemark.keeper.spaces import ATOMIC
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE
from tidemark.native.pages import Extent, Layer, Source, data_pages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tidemark.keeper.copies import Copies
    from tidemark.keeper.live import Live
    from tidemark.keeper.region import Region

_ROUNDS = 3
_FEW_PAGES = 1024
"""What is copied within a millisecond: not worth another round."""

_AT_ONCE = 2048
"""After so many pages, whatever waits for the keeper is attended to: a fork, an exit."""


class Early:
    """What has been copied of a workload's regions while it runs.

    ``layers``: by region number, the pages that were copied, the latest copy last.
    """

    def __init__(self, live: Live, copies: Copies) -> None:
        self._live = live
        self._copies = copies
        self.layers: dict[int, list[Layer]] = {}
        self._due: dict[int, Bitmap] = {}  # told, and not copied since
        self._unsettled: dict[int, Bitmap] = {}

    def begin(self) -> None:
        """Forget what was copied for the last checkpoint."""
        self.layers, self._due, self._unsettled = {}, {}, {}

    def copy(self, *, full: bool, most: int) -> None:
        """Copy what was written so far, or all, for as long as it gets less; ``most`` pages.

        :raises OSError: when there is no memory for it
        """
        if self._live.tracker != ATOMIC:
            return
        before = 0
        for number in range(_ROUNDS):
            pages = self._find(full=full and number == 0)
            if not pages or self._copies.taken + pages > most:
                return
            self._live.aside(partial(self._copies.prepare, pages))
            tree, tracking = self._live.tree, self._live.tracking
            settled = has_passed(tree, pinned=tracking.has_pins(tree))
            for region in tracking.in_order():
                self._copy_region(region, settled=settled)
            if pages <= _FEW_PAGES or (before and pages > before // 2):
                return
            before = pages

    def copied(self, region: Region) -> Bitmap:
        """Return the pages of which there is a copy, and that were not told to be written since."""
        copied = Bitmap(region.pages)
        for layer in self.layers.get(region.number, ()):
            copied |= layer.pages
        if region.number in self._due:
            copied -= self._due[region.number]
        return copied

    def unsettled(self, region: Region) -> Bitmap:
        """Return the pages whose copy may have been made before what was pinned had its content."""
        return self._unsettled.get(region.number, Bitmap(0))

    def _find(self, *, full: bool) -> int:
        """Note what is due to be copied; return how many pages that is.

        Only pages that were there when they were armed last: of others nobody tells whether they
        are written again.
        """
        told, found = self._live.tracking.tell(self._live.tree), 0
        for region in self._live.tracking.in_order():
            due = self._due.setdefault(region.number, Bitmap(region.pages))
            due.grow(region.pages)
            due |= told[region.identity] & region.data
            if full and region.descriptor is not None:
                due |= region.data & data_pages(region.descriptor, region.pages)
            found += len(due)
        return found

    def _copy_region(self, region: Region, *, settled: bool) -> None:
        due = self._due.get(region.number)  # none of a region that was born since
        if region.descriptor is None or not due:
            return
        source = Source([Extent(0, region.pages, 0, region.descriptor)], live=True)
        done, offset = Bitmap(region.pages), self._copies.taken * PAGE_SIZE
        for some in _parts(due):
            self._copies.take(source, some)
            done |= some
            self._attend()
        self.layers.setdefault(region.number, []).append(Layer(done, offset))
        due -= done
        unsettled = self._unsettled.setdefault(region.number, Bitmap(region.pages))
        unsettled.grow(region.pages)
        unsettled -= done
        if not settled:
            unsettled |= done

    def _attend(self) -> None:
        self._live.loop.wait(0)


def _parts(which: Bitmap) -> Iterator[Bitmap]:
    """Yield the pages, some at a time, ascending."""
    part, count = Bitmap(which.pages), 0
    for first, length in which.runs():
        for start in range(first, first + length, _AT_ONCE):
            size = min(_AT_ONCE, first + length - start)
            part.set(start, size)
            count += size
            if count >= _AT_ONCE:
                yield part
                part, count = Bitmap(which.pages), 0
    if count:
        yield part
