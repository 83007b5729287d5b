"""What is known of one region in the present epoch."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tidemark.native.bitmap import Bitmap, Run
from tidemark.native.library import PAGE_SIZE
from tidemark.native.pages import born_pages, data_pages
from tidemark.native.window import Window

if TYPE_CHECKING:
    from tidemark.keeper.objects import Identity
    from tidemark.native.pages import Source

BLOCK_PAGES = 512
"""What one page table covers: arming a part of it costs the table for all of it."""


@dataclass(eq=False)
class Region:
    """One shared-memory object that the workload maps.

    ``pages`` only grows, so that a truncated tail stays visible as a hole. All bitmaps are of
    that length or shorter.
    """

    number: int
    identity: Identity
    kind: str
    name: str
    descriptor: int | None
    pages: int = 0
    known: bool = False  # was armed when the epoch began
    mapped: bool = False  # is mapped by the workload now
    before: Bitmap = field(default_factory=lambda: Bitmap(0))  # data when the epoch began
    data: Bitmap = field(default_factory=lambda: Bitmap(0))
    zero: Bitmap = field(default_factory=lambda: Bitmap(0))  # of the data, read and all zero
    examined: bool = False  # zero is known for all of the data
    written: Bitmap = field(default_factory=lambda: Bitmap(0))  # other than by a scan tells
    told: Bitmap = field(default_factory=lambda: Bitmap(0))  # written, by a scan within the epoch
    recent: Bitmap = field(default_factory=lambda: Bitmap(0))  # written since that, in any way
    stored: Bitmap = field(default_factory=lambda: Bitmap(0))  # through any mapping
    gave: bool = False  # pages were given back within the epoch
    suspicions: dict[str, Bitmap] = field(default_factory=dict)
    held: Bitmap = field(default_factory=lambda: Bitmap(0))  # may be pinned since the tracker began
    armed_blocks: list[Run] = field(default_factory=list)
    planned: Bitmap | None = None  # the data that these were planned for
    shown: Window | None = None

    def plan_arming(self) -> None:
        """Decide which blocks are to be armed: those that hold data."""
        if self.planned is not self.data:
            self.data.grow(self.pages)  # the last block is cut where the region ends
            self.armed_blocks = list(self.data.blocks(BLOCK_PAGES))
            self.planned = self.data

    def begin_epoch(self) -> None:
        """Take the present data as the state that writes are counted from."""
        self.before = self.data
        self.known = True

    def forget(self) -> None:
        """Forget what was written and what is suspect: what comes now is of the next epoch."""
        self.written, self.told = Bitmap(self.pages), Bitmap(self.pages)
        self.suspicions = {}
        self.gave = False

    def tell(self) -> Bitmap:
        """Return what was written since this was asked last: it is told, and noted apart."""
        fresh, self.written = self.written, Bitmap(self.pages)
        self.told.grow(self.pages)
        self.told |= fresh
        return fresh

    def note_given(self, first: int, count: int) -> None:
        """Mark the pages of a run that the region has as given back, and so as written."""
        self.gave = True
        if first < self.pages:
            self.written.grow(self.pages)
            self.written.set(first, min(count, self.pages - first))

    def suspect(self, reason: str, first: int, count: int) -> None:
        """Mark the pages of a run that the region has as not vouched for."""
        count = min(count, self.pages - first)
        if count > 0:
            bitmap = self.suspicions.setdefault(reason, Bitmap(self.pages))
            bitmap.grow(self.pages)
            bitmap.set(first, count)

    def suspect_from(self, reason: str, first: int) -> None:
        """Mark the pages from ``first`` on as not vouched for."""
        self.suspect(reason, first, self.pages - first)

    def suspect_all(self, reason: str) -> None:
        """Mark every page as not vouched for."""
        self.suspect_from(reason, 0)

    def note_pins(self, *, outstanding: bool) -> None:
        """Note, at the end of an epoch, which pages may be pinned by then.

        A page is marked as written when it is pinned. So those that are pinned at the end are
        among the ones that were written in this epoch, or were pinned at its beginning; and none
        is, where nobody on the machine holds any.
        """
        if not outstanding:
            self.held = Bitmap(0)
            return
        self.held.grow(self.pages)
        for pages in (self.sure(), *self.suspicions.values()):
            self.held |= pages

    def suspect_held(self, reason: str) -> None:
        """Mark what may be pinned as not vouched for."""
        if self.held:
            self.suspicions.setdefault(reason, Bitmap(self.pages)).grow(self.pages)
            self.suspicions[reason] |= self.held

    def grow(self, pages: int) -> None:
        """Note that the object has at least ``pages`` pages."""
        self.pages = max(self.pages, pages)
        for bitmap in (self.before, self.data, self.zero, self.written, self.told, self.stored):
            bitmap.grow(self.pages)

    def measure(self) -> None:
        """Note the object's present size, where the object itself can be reached."""
        if self.descriptor is not None:
            self.grow(-(-os.fstat(self.descriptor).st_size // PAGE_SIZE))

    def read_data(self, *, only_grows: bool) -> bool:
        """Find the pages that hold data; False where the object itself cannot be reached.

        :param only_grows: nobody can have given back a page with content since it was last done
        """
        if self.descriptor is None:
            return False
        born = born_pages(self.descriptor, self.data)
        if not only_grows and self._has_lost_pages(self.descriptor, born):
            self.data = data_pages(self.descriptor, self.pages)
        elif born:
            self.data = self.data | born
        return True

    def _has_lost_pages(self, descriptor: int, born: Bitmap) -> bool:
        """Return whether pages that held data may hold none now.

        All others being known, the number of pages that the object has tells; shmem_getattr() of
        the kernel counts them, in swap or not, and drops those only that nobody has stored to.
        """
        return os.fstat(descriptor).st_blocks * 512 != (len(self.data) + len(born)) * PAGE_SIZE

    def sure(self) -> Bitmap:
        """Return the data pages that were written in the epoch: what is told, and what is new."""
        return (self.stored | (self.data - self.before)) & self.data

    def moved(self) -> Bitmap:
        """Return the data pages that may have changed in the epoch; all, where none was told."""
        if not self.examined:
            return self.data.copy()
        moved = self.sure()
        for suspects in self.suspicions.values():
            moved |= suspects
        return moved & self.data

    def examine(self, moved: Bitmap, source: Source, zero: Bitmap | None = None) -> None:
        """Find out which of the pages ``moved`` are all zero: those at rest were looked at before.

        ``data`` must be as it was when these were told.

        :param zero: where it is known, those of all ``moved`` that are; nothing is read then
        """
        self.zero -= moved
        self.zero &= self.data
        self.zero |= source.zero(moved) if zero is None else zero
        self.examined = True

    def window(self) -> Window | None:
        """Return a mapping of our own of all of the object; None where it cannot be had."""
        if self.descriptor is None:
            return None
        if self.shown is None or self.shown.bytes < os.fstat(self.descriptor).st_size:
            self._close_window()
            with contextlib.suppress(OSError, ValueError):
                self.shown = Window(self.descriptor)
        return self.shown

    def _close_window(self) -> None:
        if self.shown is not None:
            self.shown.close()
            self.shown = None

    def close(self) -> None:
        """Let the object go."""
        self._close_window()
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
