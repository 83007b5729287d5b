"""The frozen state at the end of an epoch: what was scanned, and how to read the content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidemark.keeper.readers import Memories, Reading, read_for_dump, read_for_truth
from tidemark.native.library import PAGE_SIZE
from tidemark.native.pages import Source

if TYPE_CHECKING:
    from tidemark.keeper.region import Region
    from tidemark.keeper.tracking import ScannedView, Tracking
    from tidemark.keeper.tree import Tree
    from tidemark.native.bitmap import Bitmap

Runs = list[int]
"""A run list, flat: first page, count, first page, count, ..."""


def flat(bitmap: Bitmap) -> Runs:
    """Return the runs of a bitmap as one flat list."""
    return [number for run in bitmap.runs() for number in run]


class Snapshot:
    """What collect found. Good until the workload is thawed.

    :raises UnsupportedError: for memory in huge pages
    """

    def __init__(self, tree: Tree, tracking: Tracking) -> None:
        self._tree = tree
        self._tracking = tracking
        self._memories = Memories()
        self._scanned = tracking.collect(tree)
        self._dump = {
            region.number: read_for_dump(region, self._scanned, self._memories)
            for region in tracking.in_order()
        }
        for region in tracking.in_order():
            region.examine(Source(self._dump[region.number].extents))
        self._scan = self._tell()
        tracking.end_epoch()

    def close(self) -> None:
        """Give back the descriptors of the processes' memory."""
        self._memories.__exit__()

    def scan(self) -> dict[str, Any]:
        """Return what was scanned, in the terms of ``Scan`` of tracking.proto."""
        return self._scan

    def _tell(self) -> dict[str, Any]:
        return {
            "page_size": PAGE_SIZE,
            "tracker": self._tracking.tracker,
            "regions": [self._region(region) for region in self._tracking.in_order()],
            "mappings": [self._mapping(scan) for scan in self._in_order()],
        }

    def _in_order(self) -> list[ScannedView]:
        return sorted(self._scanned, key=lambda scan: (scan.process.number, scan.view.start))

    @staticmethod
    def _region(region: Region) -> dict[str, Any]:
        return {
            "number": region.number,
            "kind": region.kind,
            "name": region.name,
            "pages": region.pages,
            "known": region.known,
            "data": flat(region.data),
            "zero": flat(region.zero),
            "holes": flat(region.before - region.data),
            "born": flat(region.data - region.before),
            "ended": flat(region.written & region.data),
            "suspicions": {
                reason: flat(pages & region.data)
                for reason, pages in sorted(region.suspicions.items())
            },
        }

    @staticmethod
    def _mapping(scan: ScannedView) -> dict[str, Any]:
        return {
            "process": scan.process.number,
            "region": scan.view.region.number,
            "start": scan.view.start,
            "page": scan.view.page,
            "count": scan.view.count,
            "protection": scan.protection,
            "written": flat(scan.written & scan.view.region.data),
            "present": flat(scan.present),
        }

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
            "mappings": [
                {
                    key: value
                    for key, value in self._mapping(scan).items()
                    if key not in {"written", "present"}
                }
                for scan in self._in_order()
            ],
        }

    def readings(self) -> tuple[list[dict[str, Any]], list[int]]:
        """Return how the dump and the truth read each region, and the descriptors for it.

        Extents name a descriptor by its place in the list.
        """
        descriptors: list[int] = []
        regions = []
        for region in self._tracking.in_order():
            dump = self._dump[region.number]
            used = dump.processes or self._owner_of_link(region)
            truth = read_for_truth(region, self._scanned, self._memories, dict.fromkeys(used))
            regions.append(
                {
                    "number": region.number,
                    "dump": _indexed(dump, descriptors),
                    "unreached": len(dump.unreached),
                    "truth": _indexed(truth, descriptors),
                    "witness": sorted(truth.processes),
                    "unwitnessed": len(truth.unreached),
                }
            )
        return regions, descriptors

    def _owner_of_link(self, region: Region) -> list[int]:
        """Return the process through whose link the object was opened: the first that maps it."""
        numbers = [s.process.number for s in self._scanned if s.view.region is region]
        return [min(numbers)] if numbers else []


def _indexed(reading: Reading, descriptors: list[int]) -> list[list[int]]:
    """Return a reading's extents as lists, each with its descriptor's place in the list."""
    listed = []
    for extent in reading.extents:
        if extent.fd not in descriptors:
            descriptors.append(extent.fd)
        place = descriptors.index(extent.fd)
        listed.append([extent.page, extent.count, extent.offset, place])
    return listed
