"""A full check of an image and its parents, before anything is done with them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemark.errors import ImageError
from tidemark.image.chain import open_images
from tidemark.image.framing import REMEDY, file_size, open_file
from tidemark.image.level import walk_levels
from tidemark.image.manifest import file_record
from tidemark.image.names import INVENTORY, MANIFEST, pagemap_name, pages_name, shmids_of
from tidemark.image.pagemap import read_pagemap
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE
from tidemark.native.pages import Source, differing_hashes

if TYPE_CHECKING:
    from pathlib import Path

    from tidemark.image.directory import Image
    from tidemark.image.level import Level
    from tidemark.image.manifest import FileRecord, Manifest, RegionRecord


@dataclass(frozen=True)
class Summary:
    """What was checked.

    ``images``: the image and its parents; ``hashed``: those with a manifest, so that content
    could be checked too; ``regions`` and ``pages``: what the newest image holds or has from its
    parents; ``bytes``: page content in all of the images.
    """

    images: int
    hashed: int
    regions: int
    pages: int
    bytes: int


def check_image(path: Path) -> Summary:
    """Check the image in ``path`` and all its parents: identity, files, order, bounds, content.

    Where there is no manifest (CRIU's dumps have none), content is only counted.

    :raises ImageError: for the first damage found, with the file that has it
    """
    images = open_images(path)
    file_size(images[0].path / INVENTORY)
    for image in images:
        _check_files(image)
    pages = held = 0
    for shmid in sorted({shmid for image in images for shmid in image.shmids}):
        for image, level in walk_levels(images, shmid):
            if level is None:
                continue
            _check_content(image, shmid, level)
            held += len(level.present) * PAGE_SIZE
            pages += len(level.content) if image is images[0] else 0
    hashed = sum(image.manifest is not None for image in images)
    return Summary(len(images), hashed, len(images[0].shmids), pages, held)


def _check_files(image: Image) -> None:
    if image.manifest:
        _check_listed(image.path, image.manifest)
    else:
        _check_distinct(image)


def _check_listed(path: Path, manifest: Manifest) -> None:
    content = {pages_name(region.shmid) for region in manifest.regions}
    for name, record in manifest.files.items():
        # Content is hashed page by page, later: that names the page, and reads it once.
        check_file(path / name, record, whole=name not in content)
    listed = {region.shmid for region in manifest.regions}
    for shmid in shmids_of(entry.name for entry in path.iterdir()):
        if shmid not in listed:
            raise ImageError(f"{path} has a region {shmid} that {MANIFEST} lacks; {REMEDY}")


def check_file(path: Path, record: FileRecord, *, whole: bool) -> None:
    """Check the length of a file, and its content, too, where that is ``whole``.

    :raises ImageError: when it is not what was written
    """
    size = file_size(path)
    if size != record.bytes:
        raise ImageError(f"{path} is {size} bytes long, not {record.bytes}; {REMEDY}")
    if whole and file_record(path) != record:
        raise ImageError(f"{path} is not what was written; {REMEDY}")


def _check_distinct(image: Image) -> None:
    """Refuse two page maps of one pages file: then one of them shows foreign content."""
    owners: dict[int, int] = {}
    for shmid in image.shmids:
        path = image.path / pagemap_name(shmid)
        pages_id, _ = read_pagemap(path)
        if pages_id in owners:
            raise ImageError(
                f"{path} names {pages_name(pages_id)}, as region {owners[pages_id]} does; {REMEDY}"
            )
        owners[pages_id] = shmid


def _check_content(image: Image, shmid: int, level: Level) -> None:
    record = image.manifest.region(shmid) if image.manifest else None
    differs = differing_pages(level.pages_file, record) if record else None
    if differs:
        rank, _ = next(differs.runs())
        raise ImageError(
            f"{level.pages_file} is damaged: {len(differs)} pages of region {shmid} are not what "
            f"was dumped, page {_nth(level.present, rank)} the first of them; {REMEDY}"
        )


def differing_pages(path: Path, record: RegionRecord) -> Bitmap:
    """Return which of the pages in a file, by their place there, are not what was dumped.

    :raises ImageError: when it cannot be read
    """
    packed = Bitmap(record.present, [(0, record.present)])
    if not record.present:
        return packed
    descriptor = open_file(path)
    try:
        hashes = Source.file(descriptor, record.present).hash(packed)
    finally:
        os.close(descriptor)
    return differing_hashes(packed, hashes, packed, record.page_hashes)


def _nth(present: Bitmap, rank: int) -> int:
    for first, count in present.runs():
        if rank < count:
            return first + rank
        rank -= count
    raise IndexError(rank)
