"""The address spaces of a workload: armed, scanned, and what of them the tracker cannot see."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tidemark.keeper import suspicion
from tidemark.keeper.mishaps import describe, reason_of
from tidemark.keeper.views import common, difference
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import (
    PAGE_SIZE,
    ForbiddenError,
    LackingError,
    NativeError,
    ProcessGoneError,
)
from tidemark.native.space import Deed, Notice, Scan, Space, open_all, scan_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tidemark.keeper.notices import Notices
    from tidemark.keeper.region import Region
    from tidemark.keeper.tree import Thread
    from tidemark.keeper.views import View
    from tidemark.native.bitmap import Run

    Note = Callable[["Reading"], None]

ATOMIC = "uffd-wp"
"""The tracker that forgets a write in the same breath in which it reports it."""

FORGETFUL = "soft-dirty"
"""The tracker whose notes are gone when the kernel takes an entry out of a page table."""


_NO_THREAD = ("no thread stands", 0, 0, 0, 0)


@dataclass(frozen=True)
class Reading:
    """What the tracker tells of the parts of a mapping.

    ``changed``: those that are not under the tracker now; ``gone``: their memory is taken down;
    ``failure``: why nothing was told.
    """

    space: Space
    parts: list[View]
    written: Bitmap
    unsure: Bitmap
    changed: list[View] = field(default_factory=list)
    gone: bool = False
    failure: NativeError | None = None

    def scan(self) -> Scan:
        """Return the scan that fills this."""
        views = [(part.start, part.end, part.page) for part in self.parts]
        return Scan(self.space, views, self.written, self.unsure)

    def told(self, changed: list[bool] | NativeError) -> Reading:
        """Return it as the scan has answered."""
        if isinstance(changed, NativeError):
            gone = isinstance(changed, ProcessGoneError)
            return replace(self, gone=True, failure=None if gone else changed)
        if not any(changed):
            return self
        return replace(self, changed=list(itertools.compress(self.parts, changed)))

    @property
    def region(self) -> Region:
        """The region that all parts show."""
        return self.parts[0].region

    def kept(self) -> list[View]:
        """Return the parts that are still under the tracker."""
        return (
            [part for part in self.parts if part not in self.changed]
            if self.changed
            else self.parts
        )


@dataclass(eq=False)
class AddressSpace:
    """One address space: of the processes ``users``, two of them during a vfork.

    ``views`` are those that the epoch knows: mapped when it began, or when the process was born
    in it. ``watched`` are the parts of them, in whole blocks, that are armed, and ``refused`` those
    that the kernel cannot watch. Where ``space`` is None nothing is armed, and ``reason`` says why.

    ``covered`` are the addresses of the views under the tracker, and where ``steady`` nobody has
    unmapped or moved any of them since: that would have been reported.
    """

    tracker: str
    users: set[int]
    notices: Notices
    space: Space | None = None
    failure: NativeError = field(default_factory=lambda: LackingError(*_NO_THREAD))
    reason: str = suspicion.UNTRACKED
    views: list[View] = field(default_factory=list)
    watched: list[View] = field(default_factory=list)
    refused: list[View] = field(default_factory=list)
    planned: list[tuple[View, list[Run]]] = field(default_factory=list)
    blocks: list[View] = field(default_factory=list)  # the parts to watch, as planned
    covered: set[tuple[int, int]] = field(default_factory=set)
    steady: bool = False
    left_alone: bool = False

    def stands(self, start: int, end: int) -> bool:
        """Return whether what was mapped at [start, end) when it was armed last is there still.

        shmdt(2) and shmat(2) are not reported: what shows or showed a segment may be another.
        """
        return self.steady and (start, end) in self.covered

    def takes(self, start: int, end: int) -> bool:
        """Return whether the kernel lets a mapping be watched: of files, shared memory alone."""
        try:
            if self.tracker != ATOMIC or self.space is None:
                return False
            self.space.cover(start, end)
        except NativeError:
            return False
        return True

    def close(self) -> None:
        """Stop tracking; the process is left as if it had never been tracked."""
        self.steady = False
        self.views, self.watched, self.refused = [], [], []
        if self.space is not None:
            self.notices.remove(self.space.fileno())
            self.space.close()
            self.space = None

    def may_open(self, attempt: int) -> bool:
        """Return whether it is closed, and can perhaps be opened by the next thread of it."""
        lacks = attempt == 0 or isinstance(self.failure, LackingError)
        return self.space is None and not self.left_alone and lacks

    def leave_alone(self, why: str) -> None:
        """Track it no more, for good: the process needs what the tracker holds."""
        self.give_up(suspicion.UNTRACKED)
        self.close()
        self.left_alone = True
        self.failure = LackingError(why, 0, 0, 0, 0)

    @property
    def untracked(self) -> str:
        """Why the tracker sees nothing of it; empty where it does, or there is nothing to see."""
        blind = self.tracker != suspicion.CONTENT and self.views and self.space is None
        return self.reason if blind else ""

    def fail(self, error: Exception) -> None:
        """Suspect all that may have been written: it cannot be tracked until it is armed again."""
        reason = reason_of(error)
        for view in self.views:
            view.region.suspect_all(reason)
        views = self.views
        self.close()
        self.views, self.reason = views, reason
        self.failure = LackingError(reason.removeprefix(f"{suspicion.UNTRACKED}: "), 0, 0, 0, 0)

    def follow(self, parent: AddressSpace) -> None:
        """Be left alone, if the address space is that it was copied from (fork(2))."""
        if parent.left_alone:
            self.left_alone, self.failure = True, parent.failure

    def opened(self, found: Space | NativeError) -> None:
        """Learn that it was opened, or why that failed."""
        if isinstance(found, NativeError):
            self.failure = found
            return
        self.space = found
        self.watched = []
        try:
            self.notices.add(found.fileno(), self)
        except OSError as error:  # nobody would hear a thread that waits
            self.close()
            self.failure = LackingError(f"listen to what it tells: {describe(error)}", 0, 0, 0, 0)

    def arm(self, views: list[View]) -> int:
        """Watch ``views`` from now on; return how many pages were armed anew.

        What is watched already keeps what it has noted since it was scanned last.

        :raises ProcessGoneError: when the thread that it was opened through was killed meanwhile
        """
        self.views = views
        try:
            return self._arm() if views else 0
        except ProcessGoneError:
            self.close()
            raise
        except (NativeError, OSError) as error:
            self.close()
            self.views, self.reason = views, reason_of(error)
            return 0

    def _arm(self) -> int:
        if self.space is None:
            raise self.failure
        self.refused = []
        whole = self._watched_whole()
        writable = [view for view in self.views if view in whole or self._cover(self.space, view)]
        self._plan(writable)
        fresh = [] if self.watched == self.blocks else difference(self.blocks, self.watched)
        self.space.arm([(view.start, view.end) for view in fresh])
        self.watched = self.blocks
        self.covered = {(view.start, view.end) for view in writable}
        self.steady = self.tracker == ATOMIC
        return sum(view.count for view in fresh)

    def _plan(self, views: list[View]) -> None:
        """Find the parts of views to watch: only anew where that has changed."""
        planned = [(view, view.region.armed_blocks) for view in views]
        if planned != self.planned:
            self.planned = planned
            self.blocks = [part for view, blocks in planned for part in view.pages(blocks)]

    def _watched_whole(self) -> set[View]:
        """Return the views of which each page was found to be watched by the last scan."""
        starts = {part.start: part for part in self.watched}
        return {view for view in self.views if starts.get(view.start) == view}

    def _cover(self, space: Space, view: View) -> bool:
        """Put a view under the tracker; False where that cannot be, or it can never be written.

        The kernel refuses a mapping of a file that is open for reading only (without
        VM_MAYWRITE), and nobody, a debugger included, can store through it.
        """
        try:
            space.cover(view.start, view.end)
        except ForbiddenError:
            return False
        except LackingError:
            self.refused.append(view)
            return False
        return True

    def scan(self, current: Sequence[View], note: Note) -> None:
        """Report to ``note`` what was written through each of the ``current`` views, and forget it.

        What the tracker cannot have seen is marked as suspect in the region.
        """
        self.meet(current)
        self.report(read_all([self])[0], note)

    def meet(self, current: Sequence[View]) -> None:
        """Suspect what the known views show no more, or the ``current`` ones show anew."""
        known = self.views
        if known != current:
            known = self._meet_changed(current)
        if self.space is None:
            for view in known:
                view.region.suspect(self.reason, view.page, view.count)
        for view in common(known, self.refused):
            view.region.suspect(suspicion.UNTRACKED, view.page, view.count)

    def _meet_changed(self, current: Sequence[View]) -> list[View]:
        """Suspect what mappings that came and went may hide; return what is shown as before."""
        for view in difference(self.views, current):
            self._suspect_unmapped(view)
        for view in difference(current, self.views):
            view.region.suspect(suspicion.NEW_MAPPING, view.page, view.count)
        known = common(current, self.views)
        self.watched = common(self.watched, known)
        return known

    def report(self, readings: list[Reading], note: Note) -> None:
        """Report to ``note`` what was read, and suspect what could not be told."""
        for reading in readings:
            note(reading)
            for first, count in reading.unsure.runs():
                reading.region.suspect(suspicion.UNSURE, first, count)
            for part in reading.changed:
                # Another mapping of the same pages stands there now, which is not watched.
                part.region.suspect(suspicion.UNMAPPED, part.page, part.count)
        if any(reading.gone for reading in readings):
            self.give_up(suspicion.VANISHED)
        self.watched = [part for r in readings if not r.gone for part in r.kept()]
        failures = [reading.failure for reading in readings if reading.failure is not None]
        if failures:
            self.fail(failures[0])

    def arm_again(self, readings: list[Reading]) -> list[Reading]:
        """Forget what was read, where the tracker has not forgotten it in the same breath."""
        kept = [part for reading in readings for part in reading.kept()]
        if self.space is None or self.tracker == ATOMIC:
            return readings
        try:
            self.space.arm([(view.start, view.end) for view in kept])
        except ProcessGoneError:
            return [replace(reading, gone=True) for reading in readings]
        return readings

    def unread(self) -> list[Reading]:
        """Return what is to be read of what is watched, the parts of one mapping together."""
        if self.space is None:
            return []
        found: dict[tuple[Region, int], list[View]] = {}
        for part in self.watched:
            found.setdefault((part.region, part.base), []).append(part)
        return [
            Reading(self.space, parts, Bitmap(region.pages), Bitmap(region.pages))
            for (region, _), parts in found.items()
        ]

    def _suspect_unmapped(self, part: View) -> None:
        """Suspect what a part of a known view showed, and what stood behind it if it was longer."""
        if any(view.end == part.end for view in self.views):
            part.region.suspect_from(suspicion.UNMAPPED, part.page)
        else:
            part.region.suspect(suspicion.UNMAPPED, part.page, part.count)

    def give_up(self, reason: str) -> None:
        """Suspect all that may have been written through the known views: nobody can look any more.

        They may have been longer: of mremap(2) that moves nothing nobody is told.
        """
        self.steady = False
        for view in self.views:
            view.region.suspect_from(reason, view.page)

    def suspect(self, reason: str, start: int = 0, end: int = 1 << 64) -> None:
        """Suspect what the known views between two addresses show."""
        for view in self.views:
            if view.start < end and start < view.end:
                part = view.part(start, end)
                view.region.suspect(reason, part.page, part.count)

    def hear(self) -> None:
        """Take note of what was done to mappings and will not show in a scan."""
        while self.space is not None and (notice := self.space.notice()) is not None:
            self.steady = self.steady and notice.deed is Deed.GIVEN
            if notice.deed is Deed.UNMAPPED:
                self._hear_unmapped(notice)
                continue
            for view in self.views:
                if not view.start <= notice.start < view.end:
                    continue
                if notice.deed is Deed.MOVED:
                    # The new mapping was not watched, and may be gone before we look.
                    view.region.suspect_all(suspicion.NEW_MAPPING)
                else:
                    part = view.part(notice.start, notice.end)
                    view.region.note_given(part.page, part.count)

    def _hear_unmapped(self, notice: Notice) -> None:
        """Suspect what was unmapped behind known views: any of them may have been longer.

        It may have reached where another view was known, if that was unmapped before. That the
        views themselves are gone will be seen.
        """
        for view in self.views:
            start = max(view.end, notice.start)
            if start < notice.end:
                first = view.page + (start - view.start) // PAGE_SIZE
                view.region.suspect(suspicion.UNMAPPED, first, (notice.end - start) // PAGE_SIZE)

    def present(self, view: View) -> Bitmap:
        """Return the pages of a view that the page table holds; none where it is not known."""
        present = Bitmap(max(view.region.pages, view.page + view.count))
        if self.space is not None:
            self.space.present((view.start, view.end, view.page), present)
        return present


def open_spaces(spaces: Sequence[AddressSpace], threads: Sequence[Sequence[Thread]]) -> None:
    """Open those of the spaces that are not, each through one of its threads that stand, if any.

    A thread may be unable to make system calls of ours that another one of its process can.
    """
    for space, own in zip(spaces, threads, strict=True):
        if space.space is None and not own:
            space.opened(LackingError(*_NO_THREAD))
    for attempt in itertools.count():
        closed = [
            (space, own[attempt])
            for space, own in zip(spaces, threads, strict=True)
            if space.may_open(attempt) and attempt < len(own)
        ]
        if not closed:
            return
        found = open_all(closed[0][0].tracker, [thread.stopped() for _, thread in closed])
        for (space, _), each in zip(closed, found, strict=True):
            space.opened(each)


def read_all(spaces: Sequence[AddressSpace]) -> list[list[Reading]]:
    """Return, by space, what was written since its last scan to what is watched; forget it."""
    found = _scan(spaces, rearm=True)
    return [space.arm_again(readings) for space, readings in zip(spaces, found, strict=True)]


def peek_all(spaces: Sequence[AddressSpace]) -> list[Reading]:
    """Return what was written so far, and forget nothing."""
    return [reading for readings in _scan(spaces, rearm=False) for reading in readings]


def _scan(spaces: Sequence[AddressSpace], *, rearm: bool) -> list[list[Reading]]:
    unread = [space.unread() for space in spaces]
    scans = [reading.scan() for readings in unread for reading in readings]
    answers = iter(scan_all(scans, rearm=rearm))
    return [[reading.told(next(answers)) for reading in readings] for readings in unread]
