"""What a keeper gives to read of a checkpoint: its copies, or the regions themselves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from tidemark.errors import KeeperError
from tidemark.native.bitmap import Bitmap
from tidemark.native.pages import Layer, Source
from tidemark.steps.bitmaps import bitmap_of, get_bitmap
from tidemark.steps.dump import sources_of

if TYPE_CHECKING:
    from tidemark.image.chain import Chain
    from tidemark.proto import tracking_pb2 as pb


class UncopiedError(KeeperError):
    """The keeper did not copy all that is not in the parent: it knows of another one."""


@dataclass(frozen=True)
class Copied:
    """By region, which pages the keeper gave, and how they are read."""

    pages: dict[int, Bitmap]
    sources: dict[int, Source]


def copied_by(bitmaps: pb.BitmapSet, answer: dict[str, Any], descriptors: list[int]) -> Copied:
    """Return what the keeper's answer to ``checkpoint`` gives to read."""
    lengths = {region.number: region.pages for region in bitmaps.regions}
    if answer["held"]:
        pages = {
            reading["number"]: Bitmap(
                lengths[reading["number"]], ((page, count) for page, count, _, _ in reading["dump"])
            )
            for reading in answer["regions"]
        }
        return Copied(pages, sources_of(answer, descriptors))
    pages, sources = {}, {}
    for region in answer["regions"]:
        number = region["number"]
        layers = [
            Layer(bitmap_of(runs, lengths[number]), offset) for offset, runs in region["layers"]
        ]
        pages[number] = reduce(or_, (layer.pages for layer in layers))
        sources[number] = Source.layered(layers, descriptors[0])
    return Copied(pages, sources)


def check_copied(bitmaps: pb.BitmapSet, copied: Copied, chain: Chain | None) -> None:
    """Fail where a page can neither be read from the keeper's copies nor left to the parent.

    :raises UncopiedError: then
    """
    for region in bitmaps.regions:
        missing = get_bitmap(region.used) - copied.pages[region.number]
        if chain is not None and region.known and region.number in chain.regions():
            moved = get_bitmap(region.dirty) | get_bitmap(region.suspect)
            moved -= get_bitmap(region.same)
            missing -= chain.content(region.number) - moved
        if missing:
            raise UncopiedError(
                f"the keeper did not copy {len(missing)} pages of region {region.number}, and the "
                "last checkpoint lacks them"
            )
