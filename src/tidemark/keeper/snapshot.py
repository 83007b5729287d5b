"""The frozen state at the end of an epoch: what was scanned, and how to read the content."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from tidemark.keeper.leftout import left_out
from tidemark.keeper.readers import Memories, Reading, read_for_dump
from tidemark.native.library import PAGE_SIZE
from tidemark.native.pages import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tidemark.keeper.inplace import Compared
    from tidemark.keeper.region import Region
    from tidemark.keeper.tracking import ScannedView, Tracking
    from tidemark.keeper.tree import Tree
    from tidemark.native.bitmap import Bitmap

Runs = list[int]
"""A run list, flat: first page, count, first page, count, ..."""


_RUNS = 4096
"""So many runs are listed within a millisecond."""


def flat(bitmap: Bitmap, serve: Callable[[], object] = lambda: None) -> Runs:
    """Return the runs of a bitmap as one flat list.

    :param serve: called now and then
    """
    found: Runs = []
    runs = bitmap.runs()
    while some := list(islice(runs, _RUNS)):
        found += chain.from_iterable(some)
        serve()
    return found


class Beside(NamedTuple):
    """How what takes its time is done while the workload runs.

    ``aside`` does something beside, and ``serve`` is called in the middle of what cannot be.
    """

    aside: Callable[[Callable[[], Bitmap]], Bitmap] = lambda deed: deed()
    serve: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Found:
    """What an epoch's end told of a region, apart from what the next epoch changes of it."""

    region: Region
    known: bool
    moved: Bitmap
    sure: Bitmap
    recent: Bitmap
    data: Bitmap
    holes: Bitmap
    born: Bitmap
    ended: Bitmap
    suspicions: dict[str, Bitmap]

    @classmethod
    def of(cls, region: Region) -> Found:
        """Return what is known of ``region`` now."""
        data = region.data
        return cls(
            region,
            region.known,
            region.moved(),
            region.sure(),
            region.recent,
            data,
            holes=region.before - data,
            born=data - region.before,
            ended=(region.written | region.told) & data,
            suspicions={reason: pages & data for reason, pages in region.suspicions.items()},
        )

    def tell(self, compared: Compared | None, serve: Callable[[], object]) -> dict[str, Any]:
        """Return it in the terms of ``ScannedRegion`` of tracking.proto, once it was examined."""
        runs = partial(flat, serve=serve)
        return {
            "number": self.region.number,
            "kind": self.region.kind,
            "name": self.region.name,
            "pages": self.region.pages,
            "known": self.known,
            "data": runs(self.data),
            "zero": runs(self.region.zero),
            "holes": runs(self.holes),
            "born": runs(self.born),
            "ended": runs(self.ended),
            "same": runs(compared.same) if compared else [],
            "suspicions": {
                reason: runs(self.suspicions[reason]) for reason in sorted(self.suspicions)
            },
        }


class Snapshot:
    """What collect found. Its content can be read until the workload is thawed.

    :param present: look into page tables, too, where the object itself tells what is in use
    :raises UnsupportedError: for memory in huge pages
    """

    def __init__(self, tree: Tree, tracking: Tracking, *, present: bool = True) -> None:
        self._tree = tree
        self._tracking = tracking
        self._memories = Memories()
        self._scanned = tracking.collect(tree, present=present)
        try:
            self._dump = {
                region.number: read_for_dump(region, self._scanned, self._memories)
                for region in tracking.in_order()
            }
        except BaseException:
            self.close()
            raise
        self._mapped = tracking.mapped(tree)
        self.found = [Found.of(region) for region in tracking.in_order()]
        tracking.end_epoch()

    def sources(self) -> dict[int, Source]:
        """Return, by region, the way in which the dump reads it while it stands."""
        return {
            number: Source(reading.extents, live=True) for number, reading in self._dump.items()
        }

    def examine(
        self,
        sources: Mapping[int, Source],
        compared: Mapping[int, Compared] | None = None,
        beside: Beside | None = None,
    ) -> dict[str, Any]:
        """Look for zero pages; return what was scanned, in the terms of ``Scan`` of tracking.proto.

        :param sources: by region, what gives the content of the pages that moved
        :param compared: by region, what is known to be as in the parent; that is not read
        :param beside: how it is done where the workload runs
        """
        aside, serve = beside or Beside()
        compared = compared or {}
        for found in self.found:
            number, moved = found.region.number, found.moved
            if number in compared:
                same, zero = compared[number].same, compared[number].zero
                found.region.examine(same, sources[number], zero)
                moved = moved - same
            zero = aside(partial(sources[number].zero, moved))
            found.region.examine(moved, sources[number], zero)
        return {
            "page_size": PAGE_SIZE,
            "tracker": self._tracking.tracker,
            "regions": [
                found.tell(compared.get(found.region.number), serve) for found in self.found
            ],
            "mappings": [
                _place(scan)
                | {
                    "written": flat(scan.written & scan.view.region.data, serve),
                    "present": flat(scan.present, serve) if scan.present else [],
                }
                for scan in self._in_order()
            ],
        }

    def close(self) -> None:
        """Give back the descriptors of the processes' memory."""
        self._memories.__exit__()

    def _in_order(self) -> list[ScannedView]:
        return sorted(self._scanned, key=lambda scan: (scan.process.number, scan.view.start))

    def layout(self) -> dict[str, Any]:
        """Return who maps what where: the content of layout.json."""
        mapped = {scan.process.number for scan in self._scanned}
        return {
            "processes": [
                {
                    "number": process.number,
                    "parent": process.parent.number if process.parent else None,
                    "command": process.command,
                }
                for process in self._tree.in_order()
                if process.number in mapped
            ],
            "regions": [
                {"number": r.number, "kind": r.kind, "name": r.name, "pages": r.pages}
                for r in self._tracking.in_order()
            ],
            "mappings": [_place(scan) for scan in self._in_order()],
        }

    def unsaved(self) -> list[dict[str, Any]]:
        """Return what is mapped, shared and writable, and is in no region; also after the thaw."""
        return [one.to_json() for one in left_out(self._mapped)]

    def readings(self) -> tuple[list[dict[str, Any]], list[int]]:
        """Return how the dump reads each region, and the descriptors for it.

        Extents name a descriptor by its place in the list.
        """
        descriptors: list[int] = []
        regions = []
        for region in self._tracking.in_order():
            dump = self._dump[region.number]
            regions.append(
                {
                    "number": region.number,
                    "dump": _indexed(dump, descriptors),
                    "unreached": len(dump.unreached),
                }
            )
        return regions, descriptors


def _place(scan: ScannedView) -> dict[str, Any]:
    """Return where a mapping is, and what it shows."""
    return {
        "process": scan.process.number,
        "region": scan.view.region.number,
        "start": scan.view.start,
        "page": scan.view.page,
        "count": scan.view.count,
        "protection": scan.protection,
    }


def _indexed(reading: Reading, descriptors: list[int]) -> list[list[int]]:
    """Return a reading's extents as lists, each with its descriptor's place in the list."""
    listed = []
    for extent in reading.extents:
        if extent.fd not in descriptors:
            descriptors.append(extent.fd)
        place = descriptors.index(extent.fd)
        listed.append([extent.page, extent.count, extent.offset, place])
    return listed
