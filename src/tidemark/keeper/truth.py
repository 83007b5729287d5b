"""How the truth of a frozen workload is read: another list of objects, and another way.

The dump reads objects themselves, or the memory of the first processes that map them; the truth
reads the memory of the last, and from the objects only what no process maps.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemark.keeper.inspection import Inspection, workload
from tidemark.keeper.interview import is_memory, key_of
from tidemark.keeper.residents import ask_standing
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE, NativeError, ShortReadError
from tidemark.native.pages import mapped_page

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tidemark.keeper.inspection import Sight, Subject
    from tidemark.keeper.interview import Key
    from tidemark.keeper.tree import Tree

_LAST = 1 << 32
"""The number of a process that the tree does not know: behind all others."""


class Truth:
    """What the processes of a tree map, and descriptors for its content, until it is closed.

    :param held: descriptors of objects that may be used for reading: to open one anew would look
        as if somebody had touched it
    """

    def __init__(self, tree: Tree, held: Iterable[int]) -> None:
        self._tree = tree
        self._numbers = {process.pid: process.number for process in tree.in_order()}
        self._held: dict[Key, int] = {}
        for descriptor in held:
            self._held.setdefault(key_of(descriptor), descriptor)
        self._memories: dict[int, int] = {}
        self._opened: list[int] = []
        self._places: dict[int, int] = {}  # of descriptors in the answer

    def close(self) -> None:
        """Close what was opened."""
        for descriptor in (*self._opened, *self._memories.values()):
            os.close(descriptor)
        self._opened, self._memories = [], {}

    def tell(self, descriptors: list[int]) -> dict[str, Any]:
        """Return the objects, how each is read, and the names of what nobody can judge.

        :param descriptors: takes those that extents name by their place
        """
        self._places = {fd: place for place, fd in enumerate(descriptors)}
        inspection = Inspection()
        for pid in workload(self._tree.root_pid, os.getpid()):
            inspection.look_at(pid)
        subjects = sorted(inspection.subjects.values(), key=self._place)
        return {
            "objects": [self._told(subject, descriptors) for subject in subjects],
            "unjudged": sorted(inspection.unjudged),
        }

    def _place(self, subject: Subject) -> tuple[int, int]:
        return min((self._number(sight), sight.start) for sight in subject.sights)

    def _number(self, sight: Sight) -> int:
        return self._numbers.get(sight.pid, _LAST)

    def _told(self, subject: Subject, descriptors: list[int]) -> dict[str, Any]:
        descriptor = self._open(subject)
        if descriptor is not None:
            data, unjudged = _data(descriptor), Bitmap(0)
        else:
            data, unjudged = self._resident(subject)
        extents, rest, witness = self._through_memory(subject, data, hidden=descriptor is None)
        if descriptor is not None:
            extents += self._of_object(descriptor, rest)
        for *_, fd in extents:
            if fd not in self._places:
                self._places[fd] = len(descriptors)
                descriptors.append(fd)
        return {
            "kind": subject.kind,
            "name": subject.name,
            "pages": data.pages,
            "places": sorted(
                [self._number(s), s.start] for s in subject.sights if s.pid in self._numbers
            ),
            "extents": [[*extent, self._places[fd]] for *extent, fd in extents],
            "witness": sorted(number for number in witness if number != _LAST),
            "unwitnessed": len(rest),
            "unjudged": [list(run) for run in unjudged.runs()],
        }

    def _open(self, subject: Subject) -> int | None:
        """Return a descriptor of an object; None where none can be had."""
        if subject.key in self._held:
            return self._held[subject.key]
        if not subject.key[2]:  # it could not be asked
            for key, descriptor in self._held.items():
                if key[:2] == subject.key[:2]:
                    return descriptor
        for path in filter(None, subject.paths):
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                self._opened.append(descriptor)
                if key_of(descriptor)[:2] == subject.key[:2] and is_memory(descriptor):
                    return descriptor
        return None

    def _resident(self, subject: Subject) -> tuple[Bitmap, Bitmap]:
        """Return the pages in memory, as those say who map them, and those of which none can.

        What is in swap does not show: where there is swap, nothing is said of the pages that
        are not in memory.
        """
        shown = Bitmap(max(_end(sight) for sight in subject.sights))
        data, asked = Bitmap(shown.pages), Bitmap(shown.pages)
        for sight in subject.sights:
            run = sight.offset // PAGE_SIZE, _end(sight) - sight.offset // PAGE_SIZE
            shown.set(*run)
            if (shown - asked).within(*run) and self._ask_thread(sight, data):
                asked.set(*run)
        return data, (shown - data if _has_swap() else shown - asked)

    def _ask_thread(self, sight: Sight, data: Bitmap) -> bool:
        view = (sight.start, sight.end, sight.offset // PAGE_SIZE)
        try:
            return ask_standing(self._tree, sight.pid, view, data)
        except NativeError:
            return False

    def _through_memory(
        self, subject: Subject, data: Bitmap, *, hidden: bool
    ) -> tuple[list[tuple[int, int, int, int]], Bitmap, set[int]]:
        """Return extents of the memory of those who map it, what none shows, and their numbers.

        :param hidden: also through mappings that the process itself may not read
        """
        extents, rest, witness = [], data.copy(), set()
        last = sorted(subject.sights, key=lambda s: (s.readable, self._order(s)), reverse=True)
        for sight in last:
            first = sight.offset // PAGE_SIZE
            runs = list(rest.within(first, _end(sight) - first).runs())
            if not (runs and (sight.readable or hidden)) or (memory := self._memory(sight)) < 0:
                continue
            witness.add(self._number(sight))
            base = sight.start - sight.offset
            for page, count in runs:
                extents.append((page, count, base + page * PAGE_SIZE, memory))
                rest.clear(page, count)
        return extents, rest, witness

    def _order(self, sight: Sight) -> tuple[int, int]:
        """Return what puts the last process that stands first, and who may run behind all."""
        number = self._number(sight)
        return (-1 if number == _LAST else number), sight.start

    def _memory(self, sight: Sight) -> int:
        """Return a descriptor of a process's memory, -1 where it may not be read."""
        if sight.pid not in self._memories:
            try:
                self._memories[sight.pid] = os.open(
                    f"/proc/{sight.task}/mem", os.O_RDONLY | os.O_CLOEXEC
                )
            except OSError:
                return -1
        return self._memories[sight.pid]

    def _of_object(self, descriptor: int, pages: Bitmap) -> list[tuple[int, int, int, int]]:
        """Return extents of an object; the page within which it ends is copied from a mapping.

        What stands behind its end is a part of that page, but read(2) does not give it.
        """
        extents = []
        whole, part = divmod(os.fstat(descriptor).st_size, PAGE_SIZE)
        for page, count in pages.runs():
            full = min(count, max(0, whole - page)) if part else count
            if full:
                extents.append((page, full, page * PAGE_SIZE, descriptor))
            if full < count:
                copy = os.memfd_create("tidemark-truth-tail", os.MFD_CLOEXEC)
                self._opened.append(copy)
                with contextlib.suppress(ShortReadError):  # it was cut since
                    os.pwrite(copy, mapped_page(descriptor, whole), 0)
                extents.append((whole, 1, 0, copy))
        return extents


def _end(sight: Sight) -> int:
    """Return the page of the object behind the last one that a mapping shows."""
    return (sight.offset + sight.end - sight.start) // PAGE_SIZE


def _data(descriptor: int) -> Bitmap:
    """Return the pages that an object holds, in memory or in swap: lseek(2)."""
    size = os.fstat(descriptor).st_size
    found = Bitmap(-(-size // PAGE_SIZE))
    position = 0
    with contextlib.suppress(OSError):  # ENXIO: nothing but a hole is left
        while position < size:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
            position = os.lseek(descriptor, start, os.SEEK_HOLE)
            first = start // PAGE_SIZE
            found.set(first, -(-position // PAGE_SIZE) - first)
    return found


def _has_swap() -> bool:
    try:
        return len(Path("/proc/swaps").read_text().splitlines()) > 1
    except OSError:
        return True
