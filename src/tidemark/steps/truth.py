"""The truth of a frozen workload: a hash per page, read by another way than the dump."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidemark.files import read_json
from tidemark.native.bitmap import Bitmap
from tidemark.native.pages import Extent, Source
from tidemark.steps.hashes import PageHashes

if TYPE_CHECKING:
    from pathlib import Path

    from tidemark.proto import tracking_pb2 as pb


def source_of(extents: list[list[int]], descriptors: list[int]) -> Source:
    """Return the way to read a region that the keeper gave: extents with descriptor places."""
    return Source(
        Extent(page, count, offset, descriptors[place]) for page, count, offset, place in extents
    )


def truth_of(
    bitmaps: pb.BitmapSet, regions: dict[int, dict[str, Any]], descriptors: list[int]
) -> dict[str, Any]:
    """Return the content of truth.json.

    It knows nothing of trackers and bitmaps: all that a region holds is read, through the
    mappings that the keeper names for it.
    """
    return {
        "workload": bitmaps.workload,
        "epoch": bitmaps.epoch,
        "regions": [
            _region(region.number, region.pages, regions[region.number], descriptors)
            for region in bitmaps.regions
        ],
    }


def _region(
    number: int, pages: int, reading: dict[str, Any], descriptors: list[int]
) -> dict[str, Any]:
    held = Bitmap(pages, ((page, count) for page, count, _, _ in reading["truth"]))
    hashes = PageHashes.of(source_of(reading["truth"], descriptors), held)
    return {
        "number": number,
        "witness": reading["witness"],
        "unwitnessed": reading["unwitnessed"],
        **hashes.to_json(),
    }


def read_truth(path: Path) -> dict[int, PageHashes]:
    """Return the hashes of each region, by its number.

    :raises TidemarkError: when the file is missing or damaged
    """
    return {region["number"]: PageHashes.from_json(region) for region in read_json(path)["regions"]}
