"""Regions, the address spaces that show them, and who may have written what.

The rules of an epoch, from clear to collect. A page counts as written when

- it was stored to through a mapping that was watched all the time, which the tracker tells at
  the end of the epoch, or at the end of the process; or
- the object holds data there now and held none before, or the reverse.

Everything else that could hide a write makes the page *suspect*, with a reason. Only the
blocks of pages that hold data are armed: a page elsewhere cannot be written without becoming
data, which is seen on the object itself. So work and page tables are proportional to the pages
in use, not to the size of the region.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemark import proc
from tidemark.keeper import suspicion
from tidemark.keeper.descriptors import holdings
from tidemark.keeper.foreign import outside_writers
from tidemark.keeper.grace import called_from_outside
from tidemark.keeper.identify import Identifier
from tidemark.keeper.notices import Notices
from tidemark.keeper.objects import Identity, Mapping, open_object
from tidemark.keeper.pins import Count
from tidemark.keeper.pressure import Pressure
from tidemark.keeper.region import Region
from tidemark.keeper.residents import resident_data
from tidemark.keeper.rivals import Rivals
from tidemark.keeper.spaces import ATOMIC, FORGETFUL, AddressSpace, open_spaces, peek_all, read_all
from tidemark.keeper.views import View
from tidemark.keeper.vouching import Voucher
from tidemark.keeper.witness import Testimony, Witness
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import NativeError, ProcessGoneError
from tidemark.native.maps import shared_mappings
from tidemark.native.process import changes_mappings, holds_locks, same_space
from tidemark.unsaved import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from tidemark.keeper.mishaps import Mishaps
    from tidemark.keeper.spaces import Reading
    from tidemark.keeper.tree import Process, Thread, Tree
    from tidemark.native.maps import RawMapping

_REASONS = {
    Testimony.TOUCHED: suspicion.TOUCHED,
    Testimony.WRITABLE: suspicion.DESCRIPTOR,
    Testimony.UNKNOWN: suspicion.UNWITNESSED,
}


Views = dict[int, list[tuple[Mapping, View]]]
"""By pid, what each process maps."""


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScannedView:
    """One mapping of one process: the pages written through it, and those in its page table."""

    process: Process
    view: View
    protection: int
    written: Bitmap
    present: Bitmap | None


class Tracking:
    """What the keeper knows of a workload's memory; the observer of its tree.

    ``aside`` does what only reads /proc, and returns its result.

    :param tracker: ``uffd-wp``, ``soft-dirty`` or ``content``
    :param mishaps: what goes wrong, and ends nothing
    """

    def __init__(self, tracker: str, mishaps: Mishaps, *, yields: bool = False) -> None:
        self.tracker = tracker
        self.regions: dict[Identity, Region] = {}
        self._spaces: dict[int, AddressSpace] = {}  # by pid; one may stand under two
        self._identifier = Identifier()
        self._identified: dict[int, dict[RawMapping, Mapping]] = {}  # by pid, at the last look
        self._next_region = 1
        self._witness = Witness()
        self._voucher = Voucher() if tracker != suspicion.CONTENT else None
        self._pressure = Pressure()
        self._pins = Count()
        self.notices = Notices(mishaps)
        self._rivals = Rivals(looks=yields and tracker == ATOMIC)
        self._outside: dict[Identity, str] = {}  # when the epoch began
        self._seen_outside: dict[Identity, str] | None = None  # while it ran
        self._called = False  # from outside, since the epoch began
        self._touched = False  # a region, in the epoch that has ended
        self._listed: dict[int, list[RawMapping]] = {}  # by pid, as it was looked at last
        self._armed: dict[str, int] = {}
        self._active = False
        self.aside: Callable[[Callable[[], Any]], Any] = lambda deed: deed()

    def close(self) -> None:
        """Stop tracking everything, for good: processes that are born later are left alone."""
        self._active = False
        for space in self._spaces.values():
            space.close()
        self._spaces.clear()
        self.notices.close()
        self._witness.close()
        self._pins.close()
        if self._voucher is not None:
            self._voucher.close()
        for region in self.regions.values():
            self._witness.leave(region)
            region.close()
        self.regions.clear()

    def in_order(self) -> list[Region]:
        """Return the regions by number."""
        return sorted(self.regions.values(), key=lambda region: region.number)

    # What is mapped

    def mappings(self, process: Process) -> list[Mapping]:
        """Return the shared memory that a process maps, in order of address.

        :raises UnsupportedError: for memory in huge pages
        """
        space = self._spaces.get(process.pid)
        before = self._identified.get(process.pid, {})

        def known(raw: RawMapping) -> Mapping | None:
            # On a block device, which has a major number, there never is shared memory.
            there = raw.device[0] or (space is not None and space.stands(raw.start, raw.end))
            mapping = before.get(raw) if there else None
            return None if mapping is None or mapping.kind == "sysv" else mapping

        def takes(raw: RawMapping) -> bool:
            return space is not None and space.takes(raw.start, raw.end)

        for thread in process.living():
            try:
                listed = shared_mappings(thread.tid)
                found = self._identifier.identify(thread.tid, listed, known, takes)
            except ProcessGoneError:
                continue
            self._listed[process.pid] = listed
            self._identified[process.pid] = dict(zip(listed, found, strict=True))
            return [mapping for mapping in found if mapping.tracked]
        self._identified.pop(process.pid, None)
        return []

    def mapped(self, tree: Tree) -> list[tuple[int, Collection[Mapping]]]:
        """Return, by the number of a process, what it mapped when it was looked at last."""
        return [
            (process.number, self._identified.get(process.pid, {}).values())
            for process in tree.in_order()
        ]

    def _views(self, process: Process) -> list[tuple[Mapping, View]]:
        """Return what a process maps.

        New regions get numbers in the order of their creation: mmap(2) hands out addresses
        downwards, so the highest is the oldest.
        """
        found = self.mappings(process)
        views = [(mapping, self._view(process, mapping)) for mapping in reversed(found)]
        return views[::-1]

    def _view(self, process: Process, mapping: Mapping) -> View:
        region = self._region_of(mapping.identity) or self._enter(process, mapping)
        if region.descriptor is None:
            region.grow(mapping.page + mapping.count)
        region.mapped = True
        return View(mapping.start, mapping.end, mapping.page, region)

    def _region_of(self, identity: Identity) -> Region | None:
        """Return the region of an object; where it could not be asked, the one of its numbers."""
        *numbers, handle = identity
        found = self.regions.get(identity) or self.regions.get((*identity[:3], b""))
        if found is None and not handle and self._identifier.by_links:
            same = (each for each in self.regions if list(each[:3]) == numbers)
            found = self.regions.get(next(same, identity))
        return found

    def _enter(self, process: Process, mapping: Mapping) -> Region:
        """Take in a region that is seen for the first time."""
        region = Region(
            number=self._next_region,
            identity=mapping.identity,
            kind=mapping.kind,
            name=mapping.name,
            descriptor=open_object([process.pid, *self._spaces], process.a_thread(), mapping),
        )
        region.measure()
        self._next_region += 1
        self.regions[mapping.identity] = region
        return region

    def _view_all(self, tree: Tree) -> Views:
        """Return, by pid, what each process maps now; forget the regions that nobody maps."""
        for region in self.regions.values():
            region.mapped = False
            region.measure()
        self._listed = {}
        pids = set(tree.processes)
        self._identified = {p: known for p, known in self._identified.items() if p in pids}
        views = {process.pid: self._views(process) for process in tree.in_order()}
        for identity, region in list(self.regions.items()):
            if not region.mapped:
                gone = self.regions.pop(identity)
                self._witness.leave(gone)
                gone.close()
        return views

    def _space_of(self, process: Process) -> AddressSpace:
        space = self._spaces.get(process.pid)
        if space is None:
            space = AddressSpace(self.tracker, {process.pid}, self.notices)
            self._spaces[process.pid] = space
        return space

    # The beginning and the end of an epoch

    def clear(self, tree: Tree) -> dict[str, int]:
        """Begin an epoch. The tree must stand.

        After an epoch all has been armed already, by its collect. What comes between the two is
        of the new epoch: its own threads write nothing then, but another process can
        (process_vm_writev(2)), and so can the kernel on its behalf (an asynchronous read).

        Returns how many regions and mappings are watched, and how many pages were armed anew.
        """
        if not self._active:
            views = self._view_all(tree)
            self._refresh_data(tree, views)
            self._arm_all(tree, views)
            self._outside = self._find_outside(tree)
            self._active = True
        for region in self.regions.values():
            region.begin_epoch()
            region.suspect_held(suspicion.PINNED)
            if self._witness.pinned or _has_workers(tree):
                region.suspect_all(suspicion.PINNED)
        return {"regions": len(self.regions), **self._armed}

    def collect(self, tree: Tree, *, present: bool = True) -> list[ScannedView]:
        """End an epoch: find what was written and what is suspect. The tree must stand.

        The regions then hold their data, zero pages and suspicions; what was written is in the
        result, or in ``written`` of the region where its mapping has ended. Everything is armed
        again at once: what comes from now on is of the next epoch.

        :param present: look into page tables, too, where the object itself tells what is in use
        """
        # A page that is let go before the answer comes has its content: nothing is copied yet.
        outstanding = self._pins.ask()
        views = self._view_all(tree)
        testimony = self._testimony(tree)
        for region in self.regions.values():
            self._hear(region, testimony[region.number])
            if _has_workers(tree):
                region.suspect_all(suspicion.PINNED)
        scanned = self._scan_all(tree, views, present=present)
        for region in self.regions.values():
            region.recent = region.written.copy()
            if self.tracker != ATOMIC:
                # Nobody tells of pages that were given back and read again, which are zero now.
                region.examined = False
            if self.tracker == FORGETFUL and self._pressure.has_moved():
                region.suspect_all(suspicion.RECLAIMED)
        for scan in scanned:
            scan.view.region.recent |= scan.written
        for region in self.regions.values():
            region.stored = region.recent | region.told
        self._suspect_outside(tree)
        self._touched = any(told is not Testimony.UNTOUCHED for told in testimony.values())
        self._refresh_data(tree, views)
        held = outstanding()
        for region in self.regions.values():
            region.note_pins(outstanding=held)
        self._arm_all(tree, views)
        return scanned

    def _testimony(self, tree: Tree) -> dict[int, Testimony]:
        """Return, by region number, what is known of what no tracker sees.

        Where the kernel itself tells, it is right.
        """
        found = self._witness.examine(self.regions.values(), tree.processes, self._listed)
        if self._voucher is not None:
            self._voucher.examine()
            for region in self.regions.values():
                untouched = self._voucher.untouched(region)
                if untouched is not None:
                    told = Testimony.UNTOUCHED if untouched else Testimony.TOUCHED
                    found[region.number] = told
        return found

    @property
    def vouching(self) -> str:
        """In words, whether the kernel testifies to what is done to regions."""
        return self._voucher.state if self._voucher is not None else "not asked"

    def look_at_programs(self, pids: Iterable[int]) -> None:
        """Find out, while they run, which processes are not to be put under the tracker."""
        for pid in pids:
            self._rivals.why_alone(pid)

    def look_outside(self, tree: Tree) -> None:
        """Find out, at the end of an epoch while the workload still runs, who else may write.

        Whoever can from then on has opened the region since, which the witness will tell: only
        then is this done again when the workload runs. Who had it open for writing, or mapped, when
        it stood, and has it no more by then, has let it go, which the witness tells, too.
        """
        self.look_at_programs(list(tree.processes))
        self._seen_outside = self._find_outside(tree)
        self.note_calls(tree)

    def doubtful(self) -> list[Region]:
        """Return the regions of which pages are going to be suspect, as far as that is known."""
        if self.tracker != ATOMIC or self._witness.pinned:
            return self.in_order()
        return [
            region
            for region in self.in_order()
            if region.suspicions or self._witness.doubts(region) or region.identity in self._outside
        ]

    def _is_vouched_for(self, region: Region) -> bool:
        return self._voucher is not None and self._voucher.counts_for(region)

    def has_pins(self, tree: Tree) -> bool:
        """Return whether the kernel may write for a process of the workload, which runs."""
        pids = list(tree.processes)
        answer = self._pins.ask()
        return self._witness.pinned or bool(
            self.aside(lambda: holdings(pids, ()).pinned or answer())
        )

    def note_calls(self, tree: Tree) -> None:
        """Note whether somebody outside is within a call that writes to the workload's memory.

        What he has pinned was marked in this epoch, and may be written in the next. So this is
        asked before the workload stands and after it: only a call that takes less time than that,
        and begins and ends in it, is not found.
        """
        processes = list(tree.processes.values())
        self._called = self._called or self.aside(lambda: called_from_outside(processes))

    def thawed(self, tree: Tree) -> None:
        """Learn that the workload runs: suspect what calls that are under way may write."""
        if self._touched:
            self._outside = self._outside | self._find_outside(tree)
        self._touched = False
        self.note_calls(tree)
        if self._called:
            for region in self.regions.values():
                region.suspect_all(suspicion.FOREIGN)
        self._called = False

    def thawing(self) -> None:
        """Learn that the workload is going to run."""
        self._witness.thawing()

    def _suspect_outside(self, tree: Tree) -> None:
        """Suspect what others could write in the epoch; know who can when the next one begins."""
        now = self._seen_outside
        if now is None:
            now = self._find_outside(tree)
        for identity, reason in (*self._outside.items(), *now.items()):
            if identity in self.regions:
                self.regions[identity].suspect_all(reason)
        self._outside, self._seen_outside = now, None

    def end_epoch(self) -> None:
        """Count what comes from now on for the next epoch, as what is known has been told."""
        for region in self.regions.values():
            region.forget()

    def _find_outside(self, tree: Tree) -> dict[Identity, str]:
        regions = self.in_order()
        found: dict[Identity, str] = self.aside(
            lambda: outside_writers(tree.processes, self._identifier, regions)
        )
        return found

    def _scan_all(self, tree: Tree, views: Views, *, present: bool) -> list[ScannedView]:
        """Scan each address space once, as many at a time as there are processors."""
        processes = [p for p in tree.in_order() if p.pid == _speaker(self._space_of(p), views)]
        spaces = [self._space_of(process) for process in processes]
        readings: list[list[Reading]] = [[] for _ in spaces]
        if self.tracker != suspicion.CONTENT:
            for process, space in zip(processes, spaces, strict=True):
                space.meet([view for _, view in views[process.pid]])
            readings = read_all(spaces)
        scanned: list[ScannedView] = []
        for process, space, read in zip(processes, spaces, readings, strict=True):
            scanned += _scanned(process, space, views[process.pid], read, present=present)
        return scanned

    def tell(self, tree: Tree) -> dict[Identity, Bitmap]:
        """Return what was written, by region, since the epoch began or this was asked last.

        The workload runs. Of what is told the tracker knows nothing any more; the regions do. It
        takes a tracker that tells and forgets in one breath.
        """
        spaces = self._all_spaces(tree)
        for space, read in zip(spaces, read_all(spaces), strict=True):
            space.report(read, _note_written)
        return {identity: region.tell() for identity, region in self.regions.items()}

    def _all_spaces(self, tree: Tree) -> list[AddressSpace]:
        return list({id(space): space for space in map(self._space_of, tree.in_order())}.values())

    def peek(self, tree: Tree) -> dict[Identity, Bitmap]:
        """Return what was written so far, by region, as far as a scan tells now."""
        found: dict[Identity, Bitmap] = {}
        for reading in peek_all(self._all_spaces(tree)):
            pages = found.setdefault(reading.region.identity, Bitmap(0))
            pages |= reading.written
        return found

    def _arm_all(self, tree: Tree, views: Views) -> None:
        for region in self.regions.values():
            region.plan_arming()
        shown = {
            space: [view for _, view in views[process.pid]]
            for process in tree.in_order()
            if process.pid == _speaker(space := self._space_of(process), views)
        }
        armed = self._arm(tree, shown)
        self._armed = {"mappings": sum(map(len, views.values())), "pages_armed": armed}
        self._witness.begin(self.regions.values(), tree.processes, self._listed)
        if self._voucher is not None:
            self._voucher.begin(self.regions.values())
        if self.tracker == FORGETFUL:
            self._pressure.begin()

    def _arm(self, tree: Tree, shown: dict[AddressSpace, list[View]]) -> int:
        if self.tracker == suspicion.CONTENT:
            for space, views in shown.items():
                space.views = views
            return 0
        for space in shown:
            self._yield_to_rivals(space)
        threads = [
            tree.stopped_threads(space.users) if views or self._has_unknown(space) else []
            for space, views in shown.items()
        ]
        open_spaces(list(shown), threads)
        armed = 0
        for (space, views), own in zip(shown.items(), threads, strict=True):
            tree.budget.check()
            try:
                armed += space.arm(views)
            except ProcessGoneError:
                for thread in own[:1]:
                    tree.thread_left(thread)
        return armed

    def _yield_to_rivals(self, space: AddressSpace) -> None:
        whys = [why for pid in space.users if (why := self._rivals.why_alone(pid)) is not None]
        if whys and not space.left_alone:
            space.leave_alone(whys[0])

    def _has_unknown(self, space: AddressSpace) -> bool:
        """Return whether the tracker is to be asked, at the next look, what a mapping shows."""
        found = (self._identified.get(pid, {}) for pid in space.users)
        return any(mapping.kind == UNKNOWN for each in found for mapping in each.values())

    # What the object itself tells

    def _hear(self, region: Region, testimony: Testimony) -> None:
        """Suspect all of a region of which the witness cannot say that nobody touched it."""
        if self.tracker == suspicion.CONTENT:
            region.suspect_all(suspicion.CONTENT)
        elif testimony in _REASONS:
            region.suspect_all(_REASONS[testimony])

    def _refresh_data(self, tree: Tree, views: Views) -> None:
        """Find out which pages of each region hold data."""
        for region in self.regions.values():
            if not region.read_data(only_grows=self._only_grows(region)):
                region.data = resident_data(tree, region, views)

    def _only_grows(self, region: Region) -> bool:
        """Return whether a region can only have more data than at the end of the last epoch.

        Who gives back a page through a mapping is reported (uffd-wp), and who does it through a
        descriptor has touched the object. The kernel itself takes back only pages that nobody
        stored to: they are zero, whether they count as data or not.
        """
        grew = region.known and region.examined and not (region.suspicions or region.gave)
        return self.tracker == ATOMIC and grew

    # The observer of the tree

    def born(self, process: Process, thread: Thread) -> None:
        """Watch a child from before its first instruction."""
        parent = process.parent
        if parent is not None and parent.pid in self._spaces and _share(process, parent):
            space = self._spaces[process.pid] = self._spaces[parent.pid]
            space.users.add(process.pid)
            return
        space = self._space_of(process)
        if parent is not None and parent.pid in self._spaces:
            space.follow(self._spaces[parent.pid])
        if self._active:
            views = [view for _, view in self._views(process)]
            if self.tracker == suspicion.CONTENT:
                space.views = views
            elif views:
                open_spaces([space], [[thread]])
                space.arm(views)

    def leaving(self, thread: Thread) -> None:
        """Suspect what the end of a thread may hide.

        The kernel marks the robust locks that it holds; and one that is killed while it changes
        mappings does not wait until the tracker's notice of that has been heard.
        """
        if not self._active or self.tracker == suspicion.CONTENT:
            return
        space = self._space_of(thread.process)
        if _holds_locks(thread):
            space.suspect(suspicion.LOCK)
        if _changes_mappings(thread):
            space.give_up(suspicion.UNHEARD)

    def found(self, process: Process) -> None:
        """Learn which memory a process has that was not followed from its birth on."""
        if process.pid in self._spaces:
            return
        if process.parent is not None:
            self._space_of(process.parent)
        space = next((s for pid, s in self._spaces.items() if _has_space(process, pid)), None)
        process.shares = space is not None
        if space is not None:
            self._spaces[process.pid] = space
            space.users.add(process.pid)

    def unfollowed(self, reason: str) -> None:
        """Suspect all that somebody could write who was not followed; he may be of the tree now."""
        self._seen_outside = None
        if self._active:
            for region in self.regions.values():
                region.suspect_all(reason)

    def exiting(self, process: Process, *, alone: bool) -> None:
        """Scan a process whose memory is about to be taken down."""
        space = self._space_of(process)
        if space.users != {process.pid}:
            # The memory lives on in another process, which may give it up before this has ended.
            space.users.discard(process.pid)
            del self._spaces[process.pid]
        elif self._active and self.tracker != suspicion.CONTENT:
            views = [view for _, view in self._views(process)]
            space.scan(views, _note_written)
            if not alone:
                space.give_up(suspicion.VANISHED)
            space.close()

    def executed(self, process: Process) -> None:
        """Mark what a process may have written before it gave up its memory."""
        self._leave(process, suspicion.EXEC)
        self._rivals.forget(process.pid)
        self._space_of(process)

    def guards(self, process: Process) -> None:
        """Compare by content what a process maps that guards memory of it."""
        space = self._space_of(process)
        if space.space is not None:
            log.warning(
                "process %d guards memory (MADV_GUARD_INSTALL), which Linux does not come to an "
                "end with while it is under uffd-wp: from now on it is compared by content",
                process.pid,
            )
            space.leave_alone("it guards memory of its own (MADV_GUARD_INSTALL)")

    def attend(self) -> bool:
        """Hear what the tracker has to tell; return whether there was anything."""
        return self.notices.attend()

    def distrust(self, process: Process, reason: str) -> None:
        """Suspect all that a process may have written unseen, and look at it anew when it stands.

        What it writes until then shows as written through mappings that were not there before.
        """
        for region in self.regions.values():
            region.suspect_all(reason)
        space = self._spaces.pop(process.pid, None)
        self._identified.pop(process.pid, None)
        if space is None:
            return
        space.users.discard(process.pid)
        if not space.users:
            space.close()

    def untracked(self, tree: Tree) -> list[tuple[Process, str]]:
        """Return the processes that are not under the tracker though they share memory, and why."""
        found = []
        for process in tree.in_order():
            space = self._spaces.get(process.pid)
            if space is not None and space.untracked:
                found.append((process, space.untracked))
        return found

    def ended(self, process: Process) -> None:
        """Mark what a process may have written that could not be scanned before its end."""
        self._leave(process, suspicion.VANISHED)
        self._rivals.forget(process.pid)

    def _leave(self, process: Process, reason: str) -> None:
        space = self._space_of(process)
        del self._spaces[process.pid]
        space.users.discard(process.pid)
        if space.users:
            return  # the memory lives on in the process that lent it
        space.give_up(reason)
        space.close()


def _scanned(
    process: Process,
    space: AddressSpace,
    found: list[tuple[Mapping, View]],
    readings: list[Reading],
    *,
    present: bool,
) -> list[ScannedView]:
    """Return what was read of an address space, view by view."""
    written = {view: Bitmap(view.region.pages) for _, view in found}
    showing: dict[tuple[Region, int], list[View]] = {}
    for view in written:
        showing.setdefault((view.region, view.base), []).append(view)

    def note(reading: Reading) -> None:
        first = reading.parts[0]
        for view in showing.get((first.region, first.base), ()):
            written[view] |= reading.written.within(view.page, view.count)

    space.report(readings, note)
    return [
        ScannedView(
            process,
            view,
            mapping.protection,
            written[view],
            space.present(view) if present or view.region.descriptor is None else None,
        )
        for mapping, view in found
    ]


def _speaker(space: AddressSpace, views: Views) -> int:
    """Return the process that stands for all that share an address space.

    One that was killed just now shows nothing any more.
    """
    return min((pid for pid in space.users if views.get(pid)), default=min(space.users))


def _note_written(reading: Reading) -> None:
    reading.region.written |= reading.written


def _holds_locks(thread: Thread) -> bool:
    try:
        return holds_locks(thread.tid)
    except NativeError:
        return False  # it is gone


def _changes_mappings(thread: Thread) -> bool:
    try:
        return changes_mappings(thread.tid)
    except NativeError:
        return True  # it cannot be told


def _has_workers(tree: Tree) -> bool:
    """Return whether the kernel has threads of its own in a process, which no freeze stops."""
    return any(process.workers for process in tree.processes.values())


def _has_space(process: Process, pid: int) -> bool:
    """Return whether a process has the memory of process ``pid``."""
    tid = process.a_thread()
    try:
        return proc.has_memory(tid) and same_space(tid, pid)
    except NativeError:
        return False


def _share(process: Process, parent: Process) -> bool:
    try:
        process.shares = same_space(process.pid, parent.pid)
    except ProcessGoneError:
        return False
    parent.shares = parent.shares or process.shares
    return process.shares
