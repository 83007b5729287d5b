"""dump: an epoch's image, its layout, and the truth that the restored image is held against."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemark.directories import PRIVATE
from tidemark.errors import StrictError, VerifyError
from tidemark.files import write_json
from tidemark.image.chain import Chain
from tidemark.image.writer import write_image
from tidemark.proto import tracking_pb2 as pb
from tidemark.steps.bitmaps import read_message
from tidemark.steps.live import asking
from tidemark.steps.settle import MissedError, settle
from tidemark.steps.truth import source_of, truth_of
from tidemark.unsaved import Unsaved, list_of
from tidemark.workload import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tidemark.image.manifest import Manifest
    from tidemark.image.spares import Spares
    from tidemark.image.writer import RegionDump
    from tidemark.native.bitmap import Bitmap
    from tidemark.native.pages import Source

_SHOWN_PAGES = 5


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
    :raises VerifyError: when the audit finds a page that changed unseen
    :raises StrictError: when a region may not have stood still, and that matters
    """
    bitmaps = read_message(bitmap, pb.BitmapSet())
    with asking(keeper) as client:
        answer, descriptors = client.ask("open", epoch=epoch)
        try:
            with Chain(parent) if parent else nullcontext() as chain:
                write_dump(bitmaps, answer, sources_of(answer, descriptors), chain, targets.image)
            write_json(targets.layout, answer["layout"])
            write_json(targets.truth, truth_of(bitmaps, answer, descriptors))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


@dataclass(frozen=True)
class Written:
    """An image that was written; ``content``: by region, the pages that it has or inherits."""

    manifest: Manifest
    content: dict[int, Bitmap]


def sources_of(answer: dict[str, Any], descriptors: list[int]) -> dict[int, Source]:
    """Return, by region, the way to read it that a keeper gave, with the descriptors for that."""
    return {
        region["number"]: source_of(region["dump"], descriptors) for region in answer["regions"]
    }


def write_dump(  # noqa: PLR0913 - all of it goes into the image
    bitmaps: pb.BitmapSet,
    answer: dict[str, Any],
    sources: Mapping[int, Source],
    chain: Chain | None,
    target: Path,
    *,
    spares: Spares | None = None,
    mode: int = PRIVATE,
    becomes: Path | None = None,
    was_read: Callable[[], object] = lambda: None,
) -> Written:
    """Write the image of what a keeper found, on top of ``chain``.

    :param answer: the keeper's, with ``layout``, ``policy`` and ``unsaved``
    :param sources: by region, what gives the content of all pages that are not left to the parent
    :param spares: files to write content over, in the place of new ones
    :param mode: the permissions of its files
    :param becomes: the name that the caller will give to ``target``
    :param was_read: called when all content was read; where it raises, there is no image
    :raises ImageError: when the parent is damaged
    :raises StorageError: when the image cannot be written
    :raises VerifyError: when the audit finds a page that changed unseen
    :raises StrictError: when a region may not have stood still, or something that processes share
        is in no region, and that matters
    """
    unsaved = list_of(answer["unsaved"])
    if Policy(**answer["policy"]).strict and unsaved:
        raise _left_out(bitmaps, unsaved)
    dumps = settle_all(bitmaps, answer, sources, chain)
    manifest = write_image(
        target,
        dumps,
        workload=bitmaps.workload,
        epoch=bitmaps.epoch,
        tracker=bitmaps.tracker,
        parent=chain,
        spares=spares,
        unsaved=unsaved,
        mode=mode,
        becomes=becomes,
        was_read=was_read,
    )
    return Written(manifest, {dump.number: dump.present | dump.in_parent for dump in dumps})


def _left_out(bitmaps: pb.BitmapSet, unsaved: Sequence[Unsaved]) -> StrictError:
    return StrictError(
        f"workload {bitmaps.workload} shares what no dump holds: {', '.join(map(str, unsaved))}; "
        "run it without that, or take `strict` out of the config"
    )


def settle_all(
    bitmaps: pb.BitmapSet,
    answer: dict[str, Any],
    sources: Mapping[int, Source],
    chain: Chain | None,
) -> list[RegionDump]:
    """Decide what is dumped of each region.

    :raises VerifyError: with all that is known, when the audit finds a page that changed unseen
    """
    policy = Policy(**answer["policy"])
    dumps = []
    for region in bitmaps.regions:
        try:
            dumps.append(settle(region, sources[region.number], chain, policy, bitmaps.epoch))
        except MissedError as missed:
            raise VerifyError(_evidence(missed, bitmaps, answer["layout"])) from missed
    return dumps


def _evidence(missed: MissedError, bitmaps: pb.BitmapSet, layout: dict[str, Any]) -> str:
    """Say which pages changed unseen, when, and who maps the first of them."""
    pages = [page for first, count in missed.pages.runs() for page in range(first, first + count)]
    shown = ", ".join(map(str, pages[:_SHOWN_PAGES]))
    more = f" and {len(pages) - _SHOWN_PAGES} more" if len(pages) > _SHOWN_PAGES else ""
    (region,) = (r for r in layout["regions"] if r["number"] == missed.region)
    commands = {process["number"]: process["command"] for process in layout["processes"]}
    mappers = [
        f"process {m['process']} ({commands[m['process']]}) at {m['start']:#x}"
        for m in layout["mappings"]
        if m["region"] == missed.region and m["page"] <= pages[0] < m["page"] + m["count"]
    ]
    return (
        f"the audit of workload {bitmaps.workload}, epoch {bitmaps.epoch}, found writes that the "
        f"tracker {bitmaps.tracker} did not see: page {shown}{more} of region {missed.region} "
        f"({region['kind']} {region['name']}), mapped by {', '.join(mappers) or 'nobody'}; nothing "
        f"was dumped; use `tracker: content` for this workload, and report it"
    )
