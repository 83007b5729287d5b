"""How the dump reads a region: the object itself, or the memory of the first who map it.

The truth that it is later compared with (:mod:`truth`) is read by another way.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE, ShortReadError
from tidemark.native.pages import Extent, mapped_page

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tidemark.keeper.region import Region
    from tidemark.keeper.tracking import ScannedView
    from tidemark.keeper.tree import Process
    from tidemark.native.bitmap import Run

_PROT_READ = 1


class Memories:
    """What regions are read from, beside the objects themselves; a context manager.

    Descriptors of the memory of processes, ``/proc/PID/mem``, and copies of last pages.
    """

    def __init__(self) -> None:
        self._opened: dict[int, int] = {}
        self._tails: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (*self._opened.values(), *self._tails.values()):
            os.close(descriptor)
        self._opened.clear()
        self._tails.clear()

    def of(self, process: Process) -> int:
        """Return a descriptor of the memory of ``process``, which stays ours.

        It is opened through a thread that lives: the first one may have ended.
        """
        if process.number not in self._opened:
            path = f"/proc/{process.a_thread()}/mem"
            self._opened[process.number] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._opened[process.number]

    def object_extents(self, region: Region, descriptor: int, runs: Iterable[Run]) -> list[Extent]:
        """Return extents of the object itself for runs of pages that hold data.

        Where the object ends within a page, what stands behind its end is a part of the page
        that processes share all the same, but read(2) does not give it: that page is copied
        from a mapping.
        """
        whole, rest = divmod(os.fstat(descriptor).st_size, PAGE_SIZE)
        extents = []
        for first, count in runs:
            full = min(count, max(0, whole - first)) if rest else count
            if full:
                extents.append(Extent(first, full, first * PAGE_SIZE, descriptor))
            if full < count and first + full == whole:
                extents.append(Extent(whole, 1, 0, self._tail(region, descriptor, whole)))
        return extents

    def _tail(self, region: Region, descriptor: int, page: int) -> int:
        """Return a descriptor of a copy of the page in which the object ends."""
        if region.number not in self._tails:
            content = b""
            with contextlib.suppress(ShortReadError):  # it was cut since
                content = mapped_page(descriptor, page)
            self._tails[region.number] = os.memfd_create("tidemark-tail", os.MFD_CLOEXEC)
            os.pwrite(self._tails[region.number], content.ljust(PAGE_SIZE, b"\0"), 0)
        return self._tails[region.number]


@dataclass(frozen=True)
class Reading:
    """A way to read a region: extents, the processes whose memory they are of, and the rest.

    ``unreached`` are data pages that no extent covers.
    """

    extents: list[Extent]
    processes: list[int]
    unreached: Bitmap


def read_for_dump(region: Region, scanned: Iterable[ScannedView], memories: Memories) -> Reading:
    """Return the way in which the dump reads: the object where it can be reached."""
    if region.descriptor is not None:
        extents = memories.object_extents(region, region.descriptor, [(0, region.pages)])
        return Reading(extents, [], Bitmap(region.pages))
    return _read_memory(region, _readable(region, scanned), memories)


def _readable(region: Region, scanned: Iterable[ScannedView]) -> list[ScannedView]:
    """Return the views through which a region is read, those first that a process may read.

    The others show the same to who traces the process, and are taken where there is no object.
    """
    views = sorted((s for s in scanned if s.view.region is region), key=_is_hidden)
    return [s for s in views if region.descriptor is None or not _is_hidden(s)]


def _is_hidden(scan: ScannedView) -> bool:
    return not scan.protection & _PROT_READ


def _read_memory(region: Region, views: list[ScannedView], memories: Memories) -> Reading:
    """Cover the region's data by views, each page by the first that shows it."""
    missing = region.data.copy()
    extents: list[Extent] = []
    processes: list[int] = []
    for scan in views:
        view = scan.view
        shown = missing.within(view.page, view.count)
        runs = list(shown.runs())
        if not runs:
            continue
        memory = memories.of(scan.process)
        extents += [
            Extent(first, count, view.base + first * PAGE_SIZE, memory) for first, count in runs
        ]
        processes.append(scan.process.number)
        missing -= shown
    return Reading(extents, list(dict.fromkeys(processes)), missing)
