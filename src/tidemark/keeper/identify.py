"""What stands behind a mapping: shared memory, or something else that is not saved.

The kernel scopes, cuts and reuses numbers and names: a device's number is another file system's
once that is unmounted, a segment's id counts per IPC namespace, and a mount may be in nobody's
list. So the object itself is asked, by the mapping's link in map_files. Who may not follow that
asks by a descriptor of the process, by the list of mounts, by the name, and by the tracker.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from tidemark import proc
from tidemark.errors import UnsupportedError
from tidemark.keeper.inquiry import Inquiry
from tidemark.keeper.natures import HUGE
from tidemark.native.identity import mapped_objects
from tidemark.native.library import NativeError
from tidemark.native.probe import opens_mapped_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tidemark.keeper.objects import Device, Identity, Mapping
    from tidemark.keeper.region import Region
    from tidemark.native.identity import Object
    from tidemark.native.maps import RawMapping

    Known = Callable[[RawMapping], Mapping | None]
    Takes = Callable[[RawMapping], bool]


class Identifier:
    """Tells what mappings show. Each is asked anew, but for those that are known."""

    @functools.cached_property
    def by_links(self) -> bool:
        """Whether objects can be asked, so that identities have their handles."""
        return opens_mapped_objects()

    def identify(
        self, tid: int, listed: Sequence[RawMapping], known: Known, takes: Takes
    ) -> list[Mapping]:
        """Return what the mappings of a process show, in the order in which they are listed.

        :param tid: a thread of it that has not ended
        :param known: returns what is there for certain, since nobody can have changed it
        :param takes: whether the tracker takes a mapping, as it does of shared memory alone
        :raises UnsupportedError: for memory in huge pages
        :raises ProcessGoneError: when the thread has ended
        """
        found = [known(raw) for raw in listed]
        asked = [raw for raw, mapping in zip(listed, found, strict=True) if mapping is None]
        answers = iter(self._ask(tid, asked, takes))
        return [mapping or next(answers) for mapping in found]

    def _ask(self, tid: int, listed: Sequence[RawMapping], takes: Takes) -> list[Mapping]:
        if not listed:
            return []
        inquiry = Inquiry(tid, takes, by_links=self.by_links)
        objects: Sequence[Object | None] = [None] * len(listed)
        if self.by_links:
            objects = mapped_objects(tid, [(raw.start, raw.end) for raw in listed])
        answers = [inquiry.tell(raw, each) for raw, each in zip(listed, objects, strict=True)]
        for raw, mapping in zip(listed, answers, strict=True):
            if mapping.kind == HUGE:
                raise _huge(tid, raw)
        return answers

    def shown(
        self, tid: int, listed: Iterable[RawMapping], regions: Iterable[Region]
    ) -> set[Identity]:
        """Return which of ``regions`` a process outside of the workload maps.

        Where it cannot be told which of several a mapping shows, it counts for each of them.
        """
        numbers: dict[tuple[Device, int], set[Identity]] = {}
        for region in regions:
            numbers.setdefault(region.identity[:2], set()).add(region.identity)
        near = [raw for raw in listed if (raw.device, raw.inode) in numbers]
        found: set[Identity] = set()
        for raw, each in zip(near, self._objects(tid, near), strict=True):
            same = numbers[raw.device, raw.inode]
            exact = {identity for identity in same if each and identity[3] == each.handle}
            found |= exact if each is not None and each.handle else same
        return found

    def _objects(self, tid: int, listed: Sequence[RawMapping]) -> Sequence[Object | None]:
        if not (self.by_links and listed):
            return [None] * len(listed)
        try:
            return mapped_objects(tid, [(raw.start, raw.end) for raw in listed])
        except NativeError:
            return [None] * len(listed)


def _huge(tid: int, mapping: RawMapping) -> UnsupportedError:
    pid = proc.status_field(tid, "Tgid") or tid
    return UnsupportedError(
        f"process {pid} shares memory in huge pages (hugetlb) at {mapping.start:#x} "
        f"({mapping.name}), which Tidemark does not support yet; run the workload without them"
    )
