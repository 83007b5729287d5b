"""The truth of a frozen workload: a hash per page, of objects that the dump had no part in finding.

The keeper lists what the processes map a second time for it, by other means, and says how the
content is read through other mappings than the dump's (:mod:`tidemark.keeper.truth`). Here these
objects meet the dump's regions, by who maps them where. An object that no region stands for is
*missing*: all that it holds was missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemark.fields import believed
from tidemark.files import read_json
from tidemark.native.bitmap import Bitmap
from tidemark.native.pages import Extent, Source
from tidemark.steps.hashes import PageHashes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tidemark.proto import tracking_pb2 as pb


def source_of(extents: list[list[int]], descriptors: list[int]) -> Source:
    """Return the way to read a region that the keeper gave: extents with descriptor places."""
    return Source(
        [Extent(page, count, offset, descriptors[place]) for page, count, offset, place in extents],
        live=True,
    )


def truth_of(
    bitmaps: pb.BitmapSet, answer: dict[str, Any], descriptors: list[int]
) -> dict[str, Any]:
    """Return the content of truth.json.

    It knows nothing of trackers and bitmaps: all that an object holds is read.

    :param answer: the keeper's, with ``layout`` and ``truth``
    """
    standing = {(m["process"], m["start"]): m["region"] for m in answer["layout"]["mappings"]}
    lengths = {region.number: region.pages for region in bitmaps.regions}
    regions: dict[int, dict[str, Any]] = {}
    missing = []
    for found in answer["truth"]["objects"]:
        numbers = _numbers(found, standing) & (lengths.keys() - regions.keys())
        length = max([found["pages"], *(lengths[number] for number in numbers)])
        hashes = _hashes(found, length, descriptors)
        if not numbers:
            missing.append(_missing(found, hashes))
        regions |= {number: _region(number, found, hashes) for number in numbers}
    return {
        "workload": bitmaps.workload,
        "epoch": bitmaps.epoch,
        "regions": [regions[number] for number in sorted(regions)],
        "missing": sorted(missing, key=lambda one: (one["kind"], one["name"], one["pages"])),
        "unjudged": answer["truth"]["unjudged"],
    }


def _numbers(found: dict[str, Any], standing: dict[tuple[int, int], int]) -> set[int]:
    """Return the regions that stand, by process and address, where an object is mapped."""
    places = ((number, start) for number, start in found["places"])
    return {standing[place] for place in places if place in standing}


def _hashes(found: dict[str, Any], length: int, descriptors: list[int]) -> PageHashes:
    held = Bitmap(length, ((page, count) for page, count, _, _ in found["extents"]))
    return PageHashes.of(source_of(found["extents"], descriptors), held)


def _missing(found: dict[str, Any], hashes: PageHashes) -> dict[str, Any]:
    return {"kind": found["kind"], "name": found["name"], "pages": len(hashes.pages)}


def _region(number: int, found: dict[str, Any], hashes: PageHashes) -> dict[str, Any]:
    return {
        "number": number,
        "witness": found["witness"],
        "unwitnessed": found["unwitnessed"],
        "unjudged": found["unjudged"],
        **hashes.to_json(),
    }


@dataclass(frozen=True)
class RegionTruth:
    """What a region holds, and the pages of it of which that is not known."""

    hashes: PageHashes
    unjudged: Bitmap

    def judged(self, hashes: PageHashes) -> PageHashes:
        """Return the hashes of those pages of which the truth is known."""
        if not self.unjudged:
            return hashes
        end = max(self.unjudged.pages, hashes.pages.pages)
        return hashes.within((Bitmap(end, [(0, end)]) - self.unjudged).runs())


@dataclass(frozen=True)
class Truth:
    """The content of truth.json: by region what it holds, and what is in no region."""

    regions: dict[int, RegionTruth]
    missing: list[dict[str, Any]]
    unjudged: list[str]

    @classmethod
    def none(cls) -> Truth:
        """Return the truth of before the first epoch."""
        return cls({}, [], [])


def read_truth(path: Path) -> Truth:
    """Return what is known of each region, by its number, and of what is in none.

    :raises TidemarkError: when the file is missing or damaged
    """
    value = read_json(path)
    with believed(path, "remove it and run again"):
        return Truth(dict(_regions(value["regions"])), value["missing"], value["unjudged"])


def _regions(values: Iterable[dict[str, Any]]) -> Iterable[tuple[int, RegionTruth]]:
    for value in values:
        unjudged = value["unjudged"]
        end = max((first + count for first, count in unjudged), default=0)
        yield (
            value["number"],
            RegionTruth(PageHashes.from_json(value), Bitmap(end, map(tuple, unjudged))),
        )
