"""verify: the restored tree against the truth, and the tracker against both."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemark.files import write_json
from tidemark.image.chain import open_images
from tidemark.image.level import walk_levels
from tidemark.native.bitmap import Bitmap
from tidemark.native.pages import Source, data_pages
from tidemark.steps.hashes import PageHashes
from tidemark.steps.restore import read_index
from tidemark.steps.truth import Truth, read_truth

if TYPE_CHECKING:
    from pathlib import Path

    from tidemark.image.directory import Image
    from tidemark.steps.truth import RegionTruth


@dataclass
class Tally:
    """Counts of pages, over all regions; nothing is known of the ``unjudged`` ones."""

    pages: int = 0
    different: int = 0
    changed: int = 0
    dirty: int = 0
    missed: int = 0
    unjudged: int = 0

    def ratios(self) -> dict[str, float]:
        """Return recall and precision; both are 1.0 where there was nothing to find."""
        found = self.changed - self.missed
        return {
            "recall": found / self.changed if self.changed else 1.0,
            "precision": found / self.dirty if self.dirty else 1.0,
        }


def verify(
    restored: Path, image: Path, truth: Path, truth_before: Path | None, target: Path
) -> None:
    """Compare, page by page, and write what was found to ``target``.

    - every page that a restored process read, with the truth;
    - the pages whose truth differs from that of the epoch before, with those that the dump
      carried: of the former all must be among the latter;
    - what is in no region at all: each page of it that is not zero was missed.
    """
    tally = Tally()
    index = read_index(restored)
    now = read_truth(truth)
    before = read_truth(truth_before) if truth_before else Truth.none()
    for entry in index["files"]:
        _compare_restored(restored, entry, now, tally)
    images = open_images(image)
    for number, region in now.regions.items():
        _compare_dirty(images, number, region, before.regions.get(number), tally)
    for one in now.missing:
        tally.changed += one["pages"]
        tally.missed += one["pages"]
    manifest = images[0].manifest
    write_json(
        target,
        {
            **vars(tally),
            **tally.ratios(),
            "workload": manifest.workload if manifest else "",
            "epoch": manifest.epoch if manifest else 0,
            "tracker": manifest.tracker if manifest else "",
            "missing": now.missing,
            "unjudged_objects": now.unjudged,
            "holders": index["holders"],
            "sharing": index["sharing"],
        },
    )


def _compare_restored(directory: Path, entry: dict[str, Any], truth: Truth, tally: Tally) -> None:
    """Compare what one process read of one region with the truth of what it maps."""
    descriptor = os.open(directory / entry["file"], os.O_RDONLY | os.O_CLOEXEC)
    try:
        source = Source.file(descriptor, entry["pages"])
        found = PageHashes.of(source, data_pages(descriptor, entry["pages"]))
    finally:
        os.close(descriptor)
    region = truth.regions.get(entry["region"])
    if region is None:
        tally.unjudged += len(found.pages)
        return
    tally.unjudged += len(region.unjudged)
    found, shown = region.judged(found), region.hashes.within(_joined(entry["shown"]))
    expected = region.judged(shown)
    tally.pages += len(expected.pages | found.pages)
    tally.different += len(expected.differing(found))


def _joined(runs: list[list[int]]) -> list[tuple[int, int]]:
    """Return the union of runs that may overlap, as two views of one process can."""
    end = max((first + count for first, count in runs), default=0)
    return list(Bitmap(end, ((first, count) for first, count in runs)).runs())


def _compare_dirty(
    images: list[Image], number: int, now: RegionTruth, before: RegionTruth | None, tally: Tally
) -> None:
    """Compare which pages changed with which the dump carries: present anew, or cleared.

    A page of which the truth is not known, now or before, did not change as far as is known.
    """
    known = now.hashes
    was = before.hashes if before else PageHashes.empty(known.pages.pages)
    changed = known.differing(was) - now.unjudged
    if before is not None:
        changed -= before.unjudged
    dirty = _carried(images, number)
    tally.changed += len(changed)
    tally.dirty += len(dirty)
    tally.missed += len(changed - dirty)


def _carried(images: list[Image], number: int) -> Bitmap:
    """Return the pages of a region that an image does not leave to its parent as they were."""
    *_, before, now = [None, *(level for _, level in walk_levels(images, number))]
    if now is None:
        return Bitmap(0)
    return now.present | (before.content - now.content if before else Bitmap(0))
