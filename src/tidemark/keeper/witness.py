"""Whether objects were reached by ways that no tracker sees.

A process can map an object anew, store to it and unmap it within one epoch, or write it
through a descriptor. The kernel leaves traces of both on the object's inode:

- mmap(2), shmat(2) and read(2) set its access time. It is set to 1970 when an epoch begins;
  if it is still that when the epoch ends, nobody mapped the object.
- write(2), ftruncate(2) and fallocate(2) are reported by inotify(7), but for a descriptor that
  came from memfd_create(2) itself. While a process of the workload holds one of those open for
  writing, nothing is certain.

The modification time tells nothing: the first store to a page sets it, too.
"""

from __future__ import annotations

import mmap
import os
from enum import Enum, auto
from typing import TYPE_CHECKING

from tidemark import proc
from tidemark.native.library import NativeError
from tidemark.native.process import forget_access
from tidemark.native.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterable

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
        self._written: set[int] | None = set()
        self._noted: dict[int, bool] = {}  # region number: its file system notes accesses
        self._writable: set[int] = set()
        try:
            self._watch = Watch()
        except NativeError:
            self._written = None

    def close(self) -> None:
        """Watch no more."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def begin(self, regions: Iterable[Region], pids: Iterable[int]) -> None:
        """Watch ``regions`` from now on; the processes ``pids`` stand."""
        regions = list(regions)
        for region in regions:
            if region.descriptor is not None:
                self._begin(region, region.descriptor)
        self._writable = _writable_memory_files(regions, pids)
        self._written = self._take_written()
        self._written = set() if self._written is not None else None

    def _begin(self, region: Region, descriptor: int) -> None:
        try:
            if self._watch is not None and region.number not in self._numbers:
                self._numbers[region.number] = self._watch.add(descriptor)
            forget_access(descriptor)
            if region.number not in self._noted:
                self._noted[region.number] = _notes_a_mapping(descriptor)
                forget_access(descriptor)
        except (NativeError, OSError, ValueError):
            self._noted[region.number] = False

    def _take_written(self) -> set[int] | None:
        return self._watch.written() if self._watch is not None else None

    def examine(self, regions: Iterable[Region], pids: Iterable[int]) -> dict[int, Testimony]:
        """Return, by region number, what can be said; the processes ``pids`` stand again."""
        regions = list(regions)
        written = self._take_written()
        writable = self._writable | _writable_memory_files(regions, pids)
        return {region.number: self._testify(region, written, writable) for region in regions}

    def _testify(self, region: Region, written: set[int] | None, writable: set[int]) -> Testimony:
        if region.descriptor is None:
            # Nobody in the tree held a descriptor either; and only a segment has a name left.
            return Testimony.UNKNOWN if region.kind == "sysv" else Testimony.UNTOUCHED
        if region.number in writable:
            return Testimony.WRITABLE
        reported = written is not None and self._written is not None
        if not reported or region.number not in self._numbers or not self._noted[region.number]:
            return Testimony.UNKNOWN
        touched = os.fstat(region.descriptor).st_atime_ns != 0
        if touched or self._numbers[region.number] in (written or ()):
            return Testimony.TOUCHED
        return Testimony.UNTOUCHED


def _notes_a_mapping(descriptor: int) -> bool:
    """Try whether the file system notes mmap(2) in the access time; noatime does not."""
    # Opened anew: our own descriptor is one that leaves no trace (O_NOATIME).
    anew = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with mmap.mmap(anew, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ):
            return os.fstat(descriptor).st_atime_ns != 0
    finally:
        os.close(anew)


def _writable_memory_files(regions: Iterable[Region], pids: Iterable[int]) -> set[int]:
    """Return the numbers of the memory files that processes hold open for writing."""
    memory_files = {
        region.identity[:2]: region.number for region in regions if region.kind == "memfd"
    }
    found: set[int] = set()
    for pid in pids if memory_files else ():
        for number, status in proc.open_descriptors(pid):
            key = (os.major(status.st_dev), os.minor(status.st_dev)), status.st_ino
            if key in memory_files and proc.is_writable(pid, number):
                found.add(memory_files[key])
    return found
