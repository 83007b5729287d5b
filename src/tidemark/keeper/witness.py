"""Whether objects were reached by ways that no tracker sees.

A process can map an object anew, store to it and unmap it within one epoch, or write it
through a descriptor. The kernel leaves traces of both on the object's inode:

- open(2), write(2), ftruncate(2), fallocate(2), futimens(2), and the end of what was open for
  writing, be it a mapping, are reported by inotify(7).
- mmap(2), shmat(2) and read(2) set its access time. It is marked when an epoch begins
  (:mod:`access`); if the mark is there when the epoch ends, nobody mapped the object.

The first is relied on for files: to map or write one, a process must open it, or have had a
descriptor when the epoch began, and then nothing is certain (:mod:`descriptors`). The second is
relied on for segments, which are attached by their number; only who has opened one can set its
times back. The modification time tells nothing: the first store to a page sets it, too.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from enum import Enum, auto
from typing import TYPE_CHECKING

from tidemark.keeper.access import AccessMark
from tidemark.keeper.descriptors import Holdings, holdings
from tidemark.native.library import NativeError
from tidemark.native.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tidemark.keeper.descriptors import Listed
    from tidemark.keeper.region import Region


class Testimony(Enum):
    """What can be said of an object since the witness began."""

    UNTOUCHED = auto()
    TOUCHED = auto()
    WRITABLE = auto()  # a descriptor was open through which it may have been written unseen
    UNKNOWN = auto()


class Witness:
    """Watches the objects of regions. The regions' descriptors stay theirs."""

    def __init__(self) -> None:
        self._watch: Watch | None = None
        self._numbers: dict[int, int] = {}  # region number to number in the reports
        self._reports = True  # inotify is there, and has not lost count
        self._noted: dict[int, bool] = {}  # region number: its file system notes accesses
        self._marks: dict[int, AccessMark] = {}  # by region number
        self._held = Holdings()  # when the watch began
        self._now: Holdings | None = None  # as the processes stand
        self._pinned_before = False  # when the epoch before began
        try:
            self._watch = Watch()
        except NativeError:
            self._reports = False

    def close(self) -> None:
        """Watch no more."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def begin(
        self, regions: Iterable[Region], pids: Iterable[int], listed: Listed | None = None
    ) -> None:
        """Watch ``regions`` from now on; the processes ``pids`` stand.

        :param listed: by pid, their shared mappings
        """
        regions = list(regions)
        for region in regions:
            if region.descriptor is not None:
                self._begin(region, region.descriptor)
        self._pinned_before = self._held.pinned
        self._held = self._holdings(pids, regions, listed)
        self._reports = self._take_written() is not None

    def _begin(self, region: Region, descriptor: int) -> None:
        try:
            if self._watch is not None and region.number not in self._numbers:
                self._numbers[region.number] = self._watch.add(descriptor)
            mark = self._marks.setdefault(region.number, AccessMark())
            mark.put(descriptor)
            if region.number not in self._noted and os.fstat(descriptor).st_size:
                self._noted[region.number] = _notes_a_mapping(descriptor, mark)
                mark.put_again(descriptor)
        except (NativeError, OSError):
            self._noted[region.number] = False

    def leave(self, region: Region) -> None:
        """Watch a region no more, and take away what shows that it was watched."""
        mark = self._marks.pop(region.number, None)
        if mark is not None and region.descriptor is not None:
            with contextlib.suppress(NativeError, OSError):
                mark.take_away(region.descriptor)

    def thawing(self) -> None:
        """Learn that the processes are going to run, and can open and close files."""
        self._now = None

    def _holdings(
        self, pids: Iterable[int], regions: Iterable[Region], listed: Listed | None
    ) -> Holdings:
        if self._now is None:
            self._now = holdings(pids, regions, listed)
        return self._now

    def _take_written(self) -> set[int] | None:
        return self._watch.written() if self._watch is not None else None

    @property
    def pinned(self) -> bool:
        """Whether the kernel may write for a process, as it was when the watch began.

        A ring of io_uring that is closed lets go of its requests later: so once more after that.
        """
        return self._held.pinned or self._pinned_before

    def doubts(self, region: Region) -> bool:
        """Return whether nothing good can be said of a region at the end of the epoch."""
        return (
            region.number in self._held.unseen
            or not self._reports
            or (region.kind == "sysv" and not self._noted.get(region.number))
        )

    def examine(
        self, regions: Iterable[Region], pids: Iterable[int], listed: Listed | None = None
    ) -> dict[int, Testimony]:
        """Return, by region number, what can be said; the processes ``pids`` stand again."""
        regions = list(regions)
        written = self._take_written()
        unseen = self._held.unseen | self._holdings(pids, regions, listed).unseen
        return {region.number: self._testify(region, written, unseen) for region in regions}

    def _testify(self, region: Region, written: set[int] | None, unseen: set[int]) -> Testimony:
        if region.number in unseen:
            return Testimony.WRITABLE
        if region.descriptor is None:
            # Nobody in the tree held a descriptor either. A segment has a name left, and so may a
            # file: one that is in another mount namespace, or longer than we keep.
            named = region.kind in {"sysv", "posix"}
            return Testimony.UNKNOWN if named else Testimony.UNTOUCHED
        reported = written is not None and self._reports and region.number in self._numbers
        if not reported or (region.kind == "sysv" and not self._noted.get(region.number)):
            return Testimony.UNKNOWN  # a segment is attached by its number, and not opened
        mark = self._marks.get(region.number)
        touched = mark is None or not mark.holds(region.descriptor)
        if touched or self._numbers[region.number] in (written or ()):
            return Testimony.TOUCHED
        return Testimony.UNTOUCHED


def _notes_a_mapping(descriptor: int, mark: AccessMark) -> bool:
    """Try whether the file system notes mmap(2) in the access time; noatime does not."""
    # Opened anew: our own descriptor is one that leaves no trace (O_NOATIME).
    anew = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with mmap.mmap(anew, 1, mmap.MAP_SHARED, mmap.PROT_READ):
            return not mark.holds(descriptor)
    finally:
        os.close(anew)
