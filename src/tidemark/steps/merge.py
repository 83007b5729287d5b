"""merge: the scans of all mappings, brought together into one set of bitmaps per region."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemark.errors import TidemarkError
from tidemark.files import write_bytes
from tidemark.native.bitmap import Bitmap
from tidemark.proto import tracking_pb2 as pb
from tidemark.steps.bitmaps import SCHEMA, bitmap_of, put_bitmap, read_message

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


def merge(scan: Path, target: Path) -> None:
    """Merge ``scan.pb`` into ``bitmap.pb``.

    :raises TidemarkError: when the scan is damaged
    """
    message = read_message(scan, pb.Scan())
    try:
        merged = merge_scan(message)
    except (IndexError, ValueError) as error:
        raise TidemarkError(f"{scan} is damaged ({error}); remove it and run again") from error
    write_bytes(target, merged.SerializeToString(deterministic=True))


def merge_scan(scan: pb.Scan) -> pb.BitmapSet:
    """Return the used, dirty and suspect bitmaps of each region of a scan.

    - used: pages that the object holds, or that a page table does, and that are not known to be
      zero;
    - dirty: written through a mapping, be it one that has ended; become data; become a hole;
    - suspect: what is suspected for any reason and is not dirty anyway.

    :raises IndexError: when a run leaves its region, or a mapping reports pages that it does
        not show
    """
    merged = pb.BitmapSet(
        schema=SCHEMA,
        workload=scan.workload,
        epoch=scan.epoch,
        page_size=scan.page_size,
        tracker=scan.tracker,
    )
    for region in scan.regions:
        mappings = [m for m in scan.mappings if m.region == region.number]
        _merge_region(region, mappings, merged.regions.add())
    return merged


def _merge_region(
    region: pb.ScannedRegion, mappings: Sequence[pb.ScannedMapping], ret: pb.RegionBitmaps
) -> None:
    pages = region.pages
    used = bitmap_of(region.data, pages)
    dirty = _union(pages, (region.ended, region.born, region.holes))
    for mapping in mappings:
        used |= _placed(mapping, mapping.present, pages)
        dirty |= _placed(mapping, mapping.written, pages)
    used -= bitmap_of(region.zero, pages)
    suspect = _union(pages, (suspicion.runs for suspicion in region.suspicions))
    suspect -= dirty

    ret.number, ret.kind, ret.pages, ret.known = region.number, region.kind, pages, region.known
    same = bitmap_of(region.same, pages) & suspect
    bitmaps = ((used, ret.used), (dirty, ret.dirty), (suspect, ret.suspect), (same, ret.same))
    for bitmap, message in bitmaps:
        put_bitmap(bitmap, message)
    ret.used_count, ret.dirty_count, ret.suspect_count = len(used), len(dirty), len(suspect)
    for suspicion in region.suspicions:
        count = len(bitmap_of(suspicion.runs, pages) - dirty)
        ret.suspects_by_reason.add(reason=suspicion.reason, pages=count)


def _union(pages: int, run_lists: Iterable[Sequence[int]]) -> Bitmap:
    union = Bitmap(pages)
    for runs in run_lists:
        union |= bitmap_of(runs, pages)
    return union


def _placed(mapping: pb.ScannedMapping, runs: Sequence[int], pages: int) -> Bitmap:
    """Return a mapping's runs as a bitmap of its region, checked against its own length."""
    placed = bitmap_of(runs, pages)
    outside = placed.copy()
    outside.clear(mapping.page, mapping.count)
    if outside:
        raise IndexError(
            f"the mapping of process {mapping.process} at {mapping.start:#x} reports page "
            f"{next(outside.runs())[0]}, which it does not show"
        )
    return placed
