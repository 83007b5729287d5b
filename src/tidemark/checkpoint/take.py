"""Taking one checkpoint: what the keeper found and copied becomes an image on top of the last."""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemark.errors import ImageError, KeeperError
from tidemark.files import write_json
from tidemark.image.chain import Chain
from tidemark.image.manifest import dump_manifest, manifest_sha256
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE
from tidemark.native.pages import Source
from tidemark.steps.bitmaps import bitmap_of, get_bitmap
from tidemark.steps.collect import scan_of
from tidemark.steps.dump import sources_of, write_dump
from tidemark.steps.merge import merge_scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tidemark.checkpoint.series import Series
    from tidemark.image.manifest import Manifest
    from tidemark.keeper.client import Client
    from tidemark.proto import tracking_pb2 as pb

log = logging.getLogger(__name__)


class UncopiedError(KeeperError):
    """The keeper did not copy all that is not in the parent: it knows of another one."""


@dataclass(frozen=True)
class Taken:
    """One checkpoint that was taken.

    ``bytes`` of page content were written; ``full``: nothing was left to a parent; ``held``: the
    workload stood until all was written.
    """

    number: int
    path: Path
    parent: Path | None
    pages: int
    bytes: int
    full: bool
    held: bool
    suspects: int
    frozen_seconds: float
    seconds: float


def take(
    client: Client,
    series: Series,
    most_bytes: int,
    begun: Callable[[int], object] = lambda _: None,
) -> Taken:
    """Take a checkpoint on top of the last one, or in full where that cannot be used.

    :param most_bytes: how much the keeper may copy; beyond, the workload stands until all is
        written
    :param begun: called before the image is written, with the most bytes that it can hold
    :raises TidemarkError: when it failed; then the next one holds what this one would have
    """
    parent = _parent(client, series)
    try:
        with _open(parent) as chain:
            return _take(client, series, chain, most_bytes, begun)
    except (ImageError, UncopiedError) as error:
        if parent is None:
            raise
        log.warning("a checkpoint in full, since %s", error)
        client.ask("leave")
    return _take(client, series, None, most_bytes, begun)


def _parent(client: Client, series: Series) -> dict[str, str] | None:
    """Return what the keeper knows of the last one that was saved, if it is in this series."""
    known: dict[str, str] | None = client.ask("status")[0]["parent"]
    return known if known and series.holds(Path(known["path"])) else None


@contextmanager
def _open(parent: dict[str, str] | None) -> Iterator[Chain | None]:
    """Open the parent.

    :raises ImageError: when it is damaged, or not what was saved
    """
    if parent is None:
        yield None
        return
    with Chain(Path(parent["path"])) as chain:
        if not chain.images[0].is_known_as(parent["sha256"]):
            raise ImageError(f"{parent['path']} is not what was written there")
        yield chain


def _take(
    client: Client,
    series: Series,
    chain: Chain | None,
    most_bytes: int,
    begun: Callable[[int], object],
) -> Taken:
    since = time.monotonic()
    answer, descriptors = client.ask("checkpoint", full=chain is None, most_bytes=most_bytes)
    try:
        number = series.next_number()
        bitmaps = merge_scan(scan_of(answer["scan"] | {"epoch": number}))
        copies = _copies(bitmaps, answer, descriptors)
        _check_copied(bitmaps, copies, chain)
        begun(_most_written(bitmaps, full=chain is None) * PAGE_SIZE)
        write_json(series.path(number) / "layout.json", answer["layout"])
        manifest = write_dump(bitmaps, answer, copies.sources, chain, series.image(number))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    saved = {"path": str(series.image(number).resolve()), "sha256": _sha256(manifest)}
    stood = answer | client.ask("save", **saved)[0]
    present = sum(region.present for region in manifest.regions)
    return Taken(
        number=number,
        path=series.path(number),
        parent=chain.images[0].path.parent if chain else None,
        pages=present,
        bytes=present * PAGE_SIZE,
        full=all(region.account.full for region in manifest.regions),
        held=answer["held"],
        suspects=sum(region.suspect_count for region in bitmaps.regions),
        frozen_seconds=stood["frozen_seconds"],
        seconds=time.monotonic() - since,
    )


def _most_written(bitmaps: pb.BitmapSet, *, full: bool) -> int:
    return sum(r.used_count if full else r.dirty_count + r.suspect_count for r in bitmaps.regions)


def _sha256(manifest: Manifest) -> str:
    return manifest_sha256(dump_manifest(manifest))


@dataclass(frozen=True)
class _Copies:
    """By region, which pages the keeper gave, and how they are read."""

    pages: dict[int, Bitmap]
    sources: dict[int, Source]


def _copies(bitmaps: pb.BitmapSet, answer: dict[str, Any], descriptors: list[int]) -> _Copies:
    lengths = {region.number: region.pages for region in bitmaps.regions}
    if answer["held"]:
        pages = {
            reading["number"]: Bitmap(
                lengths[reading["number"]], ((page, count) for page, count, _, _ in reading["dump"])
            )
            for reading in answer["regions"]
        }
        return _Copies(pages, sources_of(answer, descriptors))
    pages = {
        copied["number"]: bitmap_of(copied["packed"], lengths[copied["number"]])
        for copied in answer["regions"]
    }
    sources = {
        copied["number"]: Source.packed(pages[copied["number"]], descriptors[0], copied["offset"])
        for copied in answer["regions"]
    }
    return _Copies(pages, sources)


def _check_copied(bitmaps: pb.BitmapSet, copies: _Copies, chain: Chain | None) -> None:
    """Fail where a page can neither be read from the keeper's copies nor left to the parent.

    :raises UncopiedError: then
    """
    for region in bitmaps.regions:
        missing = get_bitmap(region.used) - copies.pages[region.number]
        if chain is not None and region.known and region.number in chain.regions():
            moved = get_bitmap(region.dirty) | get_bitmap(region.suspect)
            missing -= chain.content(region.number) - moved
        if missing:
            raise UncopiedError(
                f"the keeper did not copy {len(missing)} pages of region {region.number}, and the "
                "last checkpoint lacks them"
            )
