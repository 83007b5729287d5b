"""Writing an image: whole, under its name, or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tidemark.directories import PRIVATE
from tidemark.errors import ImageError, UnsupportedError
from tidemark.files import open_new, sync_directory
from tidemark.image.inventory import inventory_bytes
from tidemark.image.manifest import (
    Account,
    FileRecord,
    Manifest,
    ParentLink,
    RegionRecord,
    dump_manifest,
    file_record,
)
from tidemark.image.names import INVENTORY, MANIFEST, PARENT, pagemap_name, pages_name
from tidemark.image.pagemap import MAX_PAGES, write_pagemap
from tidemark.image.staging import staged
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE, writing
from tidemark.native.pages import hash_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tidemark.image.chain import Chain
    from tidemark.image.spares import Spares
    from tidemark.native.pages import Source
    from tidemark.unsaved import Unsaved


@dataclass(frozen=True)
class RegionDump:
    """What to write of one region, which is ``pages`` long.

    ``source`` gives the content of the ``present`` pages; those ``in_parent`` are left to the
    parent; all others are holes. ``number`` is canonical: it names the files.
    """

    number: int
    kind: str
    pages: int
    present: Bitmap
    in_parent: Bitmap
    source: Source
    account: Account


def write_image(  # noqa: PLR0913 - all of it goes into the manifest as it is
    target: Path,
    regions: Sequence[RegionDump],
    *,
    workload: str,
    epoch: int,
    tracker: str,
    parent: Chain | None,
    stands_for: str | None = None,
    spares: Spares | None = None,
    unsaved: Sequence[Unsaved] = (),
    mode: int = PRIVATE,
    becomes: Path | None = None,
    was_read: Callable[[], object] = lambda: None,
) -> Manifest:
    """Write the directory ``target``, which must not exist yet or be empty.

    Nothing in it depends on time, process ids, inodes, or where the results are. The parent is
    only read.

    :param spares: files to write content over, in the place of new ones
    :param unsaved: what the workload shared besides
    :param mode: the permissions of its files: what they hold is the workload's memory
    :param becomes: the name that the caller will give it; the link to the parent leads from there
    :param was_read: called when all content was read; where it raises, there is no image
    :raises UnsupportedError: for a region that is longer than an image can say
    :raises StorageError: when ``target`` holds something, or cannot be written
    :raises ImageError: when a page is to be left to a parent that lacks it
    :raises tidemark.native.library.NativeError: when a page cannot be read
    """
    regions = sorted(regions, key=lambda region: region.number)
    _verify_lengths(regions)
    becomes = becomes or target
    link = _prove(regions, parent, becomes)
    with writing(becomes), staged(target, mode) as staging:
        records = [_write_region(staging, region, spares, mode) for region in regions]
        was_read()
        _write_file(staging / INVENTORY, inventory_bytes(), mode)
        if link:
            (staging / PARENT).symlink_to(link.path)
        manifest = Manifest(
            page_size=PAGE_SIZE,
            workload=workload,
            epoch=epoch,
            tracker=tracker,
            parent=link,
            files=_file_records(staging, records),
            regions=tuple(record for record, _ in records),
            stands_for=stands_for,
            unsaved=tuple(unsaved),
        )
        _write_file(staging / MANIFEST, dump_manifest(manifest), mode)
        sync_directory(staging)
    return manifest


def _verify_lengths(regions: Sequence[RegionDump]) -> None:
    for region in regions:
        if region.pages > MAX_PAGES:
            raise UnsupportedError(
                f"region {region.number} ({region.kind}) is {region.pages} pages long, and an "
                f"image holds up to {MAX_PAGES} of one; have the program make it shorter"
            )


def _prove(regions: Sequence[RegionDump], parent: Chain | None, target: Path) -> ParentLink | None:
    """Check that every page left to the parent is there, and return the link to it."""
    for region in regions:
        _verify_pages(region)
    if parent is None:
        _verify_inherited(regions, {}, "there is no parent")
        return None
    content = {number: parent.content(number) for number in parent.regions()}
    path, sha256 = parent.path, parent.sha256
    _verify_inherited(regions, content, f"{path} lacks it")
    if sha256 is None:
        raise ImageError(f"{path / MANIFEST} is missing: only a dump of ours can be a parent")
    # Both as they really stand: the link is followed from the directory, not from its name.
    home = os.path.realpath(target.parent)
    return ParentLink(os.path.relpath(os.path.realpath(path), Path(home, target.name)), sha256)


def _verify_pages(region: RegionDump) -> None:
    twice = next((region.present & region.in_parent).runs(), None)
    if twice:
        raise ImageError(f"region {region.number}: page {twice[0]} is both here and in the parent")
    beyond = region.present | region.in_parent
    beyond.clear(0, region.pages)
    if beyond:
        raise ImageError(f"region {region.number} has only {region.pages} pages")


def _verify_inherited(
    regions: Sequence[RegionDump], content: Mapping[int, Bitmap], why: str
) -> None:
    for region in regions:
        missing = region.in_parent - content.get(region.number, Bitmap(0))
        if missing:
            page, _ = next(missing.runs())
            raise ImageError(
                f"region {region.number}: page {page} cannot be left to the parent, {why}; dump "
                f"the region in full"
            )


def _write_region(
    directory: Path, region: RegionDump, spares: Spares | None, mode: int
) -> tuple[RegionRecord, FileRecord]:
    """Write both files of a region, and return its record and that of its pages file."""
    present = len(region.present)
    with _durable(open_new(directory / pagemap_name(region.number), mode)) as file:
        write_pagemap(file, region.number, region.present, region.in_parent)
    path = directory / pages_name(region.number)
    spare = spares.take(path, present * PAGE_SIZE) if spares and present else None
    with _durable(spare or open_new(path, mode)) as file:
        hashes = region.source.pack(region.present, file.fileno())
    record = RegionRecord(
        shmid=region.number,
        kind=region.kind,
        pages=region.pages,
        present=present,
        in_parent=len(region.in_parent),
        page_hashes=hashes,
        account=region.account,
    )
    # Its pages are hashed already: the file's own hash is made of these.
    return record, FileRecord(present * PAGE_SIZE, hash_of(hashes).hex())


def _file_records(
    directory: Path, regions: Iterable[tuple[RegionRecord, FileRecord]]
) -> dict[str, FileRecord]:
    records = {INVENTORY: file_record(directory / INVENTORY)}
    for region, pages in regions:
        name = pagemap_name(region.shmid)
        records[name] = file_record(directory / name)
        records[pages_name(region.shmid)] = pages
    return records


@contextmanager
def _durable(file: BinaryIO) -> Iterator[BinaryIO]:
    """Give a file to write, durable and closed when the block ends."""
    with file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _write_file(path: Path, content: bytes, mode: int) -> None:
    with _durable(open_new(path, mode)) as file:
        file.write(content)
