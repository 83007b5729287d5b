"""dump: an epoch's image, its layout, and the truth that the restored image is held against."""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemark.files import write_json
from tidemark.image.chain import Chain
from tidemark.image.manifest import Account
from tidemark.image.writer import RegionDump, write_image
from tidemark.native.bitmap import Bitmap
from tidemark.proto import tracking_pb2 as pb
from tidemark.steps.bitmaps import get_bitmap, read_message
from tidemark.steps.live import asking
from tidemark.steps.truth import source_of, truth_of

if TYPE_CHECKING:
    from pathlib import Path

    from tidemark.native.pages import Source

log = logging.getLogger(__name__)

NO_PARENT_REGION = "the parent does not have this region"
NOT_TRACKED = "the region was not tracked from the beginning of the epoch"


@dataclass(frozen=True)
class Targets:
    """Where the dump's outputs go."""

    image: Path
    layout: Path
    truth: Path


def dump(keeper: Path, epoch: int, bitmap: Path, parent: Path | None, targets: Targets) -> None:
    """Write the image of an epoch from the frozen workload, and then the truth.

    :raises ImageError: when the parent is damaged, or not the parent
    :raises StorageError: when an output cannot be written
    """
    bitmaps = read_message(bitmap, pb.BitmapSet())
    with asking(keeper) as client:
        answer, descriptors = client.ask("open", epoch=epoch)
        try:
            regions = {region["number"]: region for region in answer["regions"]}
            _write(bitmaps, regions, descriptors, parent, targets.image)
            write_json(targets.layout, answer["layout"])
            truth = truth_of(bitmaps, regions, descriptors)
            write_json(targets.truth, truth)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _write(
    bitmaps: pb.BitmapSet,
    regions: dict[int, dict[str, Any]],
    descriptors: list[int],
    parent: Path | None,
    target: Path,
) -> None:
    with Chain(parent) if parent else nullcontext() as chain:
        dumps = [
            settle(region, source_of(regions[region.number]["dump"], descriptors), chain)
            for region in bitmaps.regions
        ]
        write_image(
            target,
            dumps,
            workload=bitmaps.workload,
            epoch=bitmaps.epoch,
            tracker=bitmaps.tracker,
            parent=parent,
        )


def settle(region: pb.RegionBitmaps, source: Source, chain: Chain | None) -> RegionDump:
    """Decide what is dumped of a region: suspects are compared with the parent.

    What the parent has and the workload did not change is left to the parent. A page that the
    tracker calls clean but that the parent lacks is not believed: it is dumped, unless it is
    zero.
    """
    used = get_bitmap(region.used)
    if chain is None or region.number not in chain.regions():
        return _full(region, used, source, None if chain is None else NO_PARENT_REGION)
    if not region.known:
        return _full(region, used, source, NOT_TRACKED)
    suspect = get_bitmap(region.suspect)
    before = chain.region(region.number)
    changed = source.differing(before.source, used & suspect)
    clean = used - get_bitmap(region.dirty) - changed
    unproven = clean - before.present
    surprising = unproven - source.zero(unproven)
    if surprising:
        log.warning(
            "region %d: %d pages are not zero, though the parent has none and no write was seen",
            region.number,
            len(surprising),
        )
    present = (used - clean) | surprising
    return _region_dump(
        region,
        present,
        clean - unproven,
        source,
        Account(
            full=False,
            full_reason=None,
            vouched=len(used - suspect),
            settled=len(suspect),
            suspects={s.reason: s.pages for s in region.suspects_by_reason},
            settled_changed=len(changed) + len((suspect & before.present) - used),
            cleared=len(before.present - used),
        ),
    )


def _full(region: pb.RegionBitmaps, used: Bitmap, source: Source, reason: str | None) -> RegionDump:
    account = Account(
        full=True,
        full_reason=reason,
        vouched=0,
        settled=0,
        suspects={},
        settled_changed=0,
        cleared=0,
    )
    return _region_dump(region, used, Bitmap(region.pages), source, account)


def _region_dump(
    region: pb.RegionBitmaps, present: Bitmap, in_parent: Bitmap, source: Source, account: Account
) -> RegionDump:
    return RegionDump(
        number=region.number,
        kind=region.kind,
        pages=region.pages,
        present=present,
        in_parent=in_parent,
        source=source,
        account=account,
    )
