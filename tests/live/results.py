"""What came of an epoch, in sets of pages that a test can compare."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import oracle

from tidemark.proto import tracking_pb2 as pb
from tidemark.steps.bitmaps import bitmap_of, get_bitmap, read_message

if TYPE_CHECKING:
    from pathlib import Path

    from tidemark.native.bitmap import Bitmap


def pages(bitmap: Bitmap) -> set[int]:
    """Return the numbers of the pages in a bitmap."""
    return {page for first, count in bitmap.runs() for page in range(first, first + count)}


@dataclass
class RegionResult:
    """What an epoch's bitmaps say of one region."""

    number: int
    kind: str
    pages: int
    known: bool
    used: set[int]
    dirty: set[int]
    suspect: set[int]
    reasons: dict[str, set[int]]
    written: dict[int, set[int]]
    """By process: what the tracker saw written through its mappings."""


@dataclass
class Epoch:
    """What came of an epoch; filled when it is over."""

    number: int
    advance: dict[str, Any] = field(default_factory=dict)
    regions: dict[int, RegionResult] = field(default_factory=dict)
    content: dict[int, oracle.Content] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    """What the processes map, and the keeper has no region for."""

    @property
    def region(self) -> RegionResult:
        """The one region."""
        (only,) = self.regions.values()
        return only

    @property
    def exact(self) -> set[int]:
        """What is dirty in the one region, of which nothing is suspect."""
        assert self.region.reasons == {}, sorted(self.region.reasons)
        assert self.region.suspect == set()
        return self.region.dirty

    def judge(self, before: Epoch | None) -> None:
        """Fail where a page changed that is not dirty, and is not going to be settled either."""
        assert not self.left_out, f"not in the dump at all: {self.left_out}"
        assert self.content.keys() == self.regions.keys(), "regions that nobody maps"
        for number, content in self.content.items():
            region = self.regions[number]
            assert content.keys() == region.used, f"region {number}: used"
            if before is not None and region.known:
                changed = oracle.changed(before.content.get(number, {}), content)
                lost = changed - region.dirty - region.suspect
                assert not lost, f"region {number}: writes to {sorted(lost)[:9]} are lost"


def read_results(scan_path: Path, bitmap_path: Path) -> dict[int, RegionResult]:
    """Return what collect and merge wrote, by number of region."""
    scan = read_message(scan_path, pb.Scan())
    merged = read_message(bitmap_path, pb.BitmapSet())
    return {
        region.number: RegionResult(
            number=region.number,
            kind=region.kind,
            pages=region.pages,
            known=region.known,
            used=pages(get_bitmap(bitmaps.used)),
            dirty=pages(get_bitmap(bitmaps.dirty)),
            suspect=pages(get_bitmap(bitmaps.suspect)),
            reasons={
                suspicion.reason: pages(bitmap_of(suspicion.runs, region.pages))
                for suspicion in region.suspicions
                if suspicion.runs
            },
            written=_written(scan, region),
        )
        for region, bitmaps in zip(scan.regions, merged.regions, strict=True)
    }


def _written(scan: pb.Scan, region: pb.ScannedRegion) -> dict[int, set[int]]:
    written: dict[int, set[int]] = {}
    for mapping in scan.mappings:
        if mapping.region == region.number:
            runs = bitmap_of(mapping.written, region.pages)
            written.setdefault(mapping.process, set()).update(pages(runs))
    return written
