"""One region in one dump, checked against what its parent holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemark.errors import ImageError
from tidemark.image.framing import REMEDY, file_size
from tidemark.image.manifest import file_record
from tidemark.image.names import MANIFEST, PARENT, pagemap_name, pages_name
from tidemark.image.pagemap import MAX_PAGES, Entry, Kind, merged, read_own, read_pagemap
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tidemark.image.directory import Image
    from tidemark.image.manifest import RegionRecord


_MAX_UNHASHED_PAGES = (4 << 40) // PAGE_SIZE
"""How many pages of a region are believed where no hash stands for each: a sparse file costs
nothing, and the set of its pages a bit for each."""


@dataclass(frozen=True)
class Level:
    """What one dump knows of one region.

    ``present``: pages whose content is in this dump's ``pages_file``; ``content``: those, and
    those that it has from its parents. Both are as long as the region, or up to the last page
    listed where there is no manifest. ``hashes``: of each present page, None without a manifest.
    """

    pages_file: Path
    present: Bitmap
    content: Bitmap
    hashes: bytes | None


def walk_levels(images: list[Image], shmid: int) -> Iterator[tuple[Image, Level | None]]:
    """Yield the images of a chain (given newest first) with a region's level, oldest first.

    An image that does not know the region has None.

    :raises ImageError: when a page map is damaged, or lists a page that the parent lacks
    """
    below = Bitmap(0)
    for image in reversed(images):
        level = _read_level(image, shmid, below) if shmid in image.shmids else None
        below = level.content if level else Bitmap(0)
        yield image, level


def _read_level(image: Image, shmid: int, below: Bitmap) -> Level:
    record = image.manifest.region(shmid) if image.manifest else None
    level = _read_own_level(image, record, below) if record else None
    if record and level is None:
        _check_pagemap(image, shmid)
    return level or _read_any_level(image, shmid, record, below)


def _check_pagemap(image: Image, shmid: int) -> None:
    """Refuse a page map that is not what was written, before it is read any closer."""
    path = image.path / pagemap_name(shmid)
    written = image.manifest.files[path.name] if image.manifest else None
    if written and (file_size(path) != written.bytes or file_record(path) != written):
        raise ImageError(f"{path} is not what was written; {REMEDY}")


def _read_own_level(image: Image, record: RegionRecord, below: Bitmap) -> Level | None:
    """Return a level that we wrote and that is whole; None where it has to be looked at closely."""
    path = image.path / pagemap_name(record.shmid)
    pages_file = image.path / pages_name(record.shmid)
    present, in_parent = record.present, record.in_parent
    if file_size(pages_file) != present * PAGE_SIZE or in_parent > len(below):
        return None
    written = image.manifest.files[path.name].xxh3 if image.manifest else None
    read = read_own(path, record.shmid, record.pages, present, in_parent, written)
    if read is None or (len(read[0]), len(read[1])) != (present, in_parent) or read[1] - below:
        return None
    return Level(pages_file, read[0], read[0] | read[1], record.page_hashes)


def _read_any_level(image: Image, shmid: int, record: RegionRecord | None, below: Bitmap) -> Level:
    pages_file, entries = listed(image, shmid, below)
    bitmaps = _bitmaps(entries, record.pages if record else 0)
    return Level(pages_file, *bitmaps, record.page_hashes if record else None)


def listed(image: Image, shmid: int, below: Bitmap | None = None) -> tuple[Path, Iterator[Entry]]:
    """Return a region's pages file, and the runs of its page map, checked while they are read.

    :param below: what the parent has of the region; None where that is not looked at
    :raises ImageError: when they do not belong together or are not as the manifest says, also
        from the iterator
    """
    record = image.manifest.region(shmid) if image.manifest else None
    path = image.path / pagemap_name(shmid)
    pages_id, entries = read_pagemap(path)
    if record and pages_id != shmid:
        raise ImageError(f"{path} names {pages_name(pages_id)} instead of its own; {REMEDY}")
    pages_file = image.path / pages_name(pages_id)
    # In this order no bit is set, and no memory taken, for pages that cannot be.
    entries = _within(merged(entries), record.pages if record else MAX_PAGES, path)
    if below is not None:
        entries = _inherited(entries, below, image, path)
    entries = _held(entries, pages_file, MAX_PAGES if record else _MAX_UNHASHED_PAGES)
    return pages_file, _counted(entries, record, path) if record else entries


def _counted(entries: Iterable[Entry], record: RegionRecord, path: Path) -> Iterator[Entry]:
    """Refuse a page map that has other numbers of pages than the manifest."""
    counts = dict.fromkeys(Kind, 0)
    for entry in entries:
        counts[entry.kind] += entry.count
        yield entry
    if (counts[Kind.PRESENT], counts[Kind.PARENT]) != (record.present, record.in_parent):
        raise ImageError(f"{path} lists other pages than {MANIFEST}; {REMEDY}")


def _bitmaps(entries: Iterable[Entry], pages: int) -> tuple[Bitmap, Bitmap]:
    present, content = Bitmap(pages), Bitmap(pages)
    for entry in entries:
        content.grow(entry.end)
        content.set(entry.first_page, entry.count)
        if entry.kind is Kind.PRESENT:
            present.grow(entry.end)
            present.set(entry.first_page, entry.count)
    present.grow(content.pages)
    return present, content


def _within(entries: Iterable[Entry], pages: int, path: Path) -> Iterator[Entry]:
    """Refuse an entry that ends beyond its region."""
    for entry in entries:
        if entry.end > pages:
            raise ImageError(
                f"{path} lists page {entry.end - 1} of a region of {pages} pages; {REMEDY}"
            )
        yield entry


def _held(entries: Iterable[Entry], pages_file: Path, most: int) -> Iterator[Entry]:
    """Refuse a pages file that is not as long as the present pages are, ``most`` of them."""
    size = file_size(pages_file)
    if size > most * PAGE_SIZE:
        raise ImageError(
            f"{pages_file} is {size} bytes long, and {most * PAGE_SIZE} are believed; {REMEDY}"
        )
    listed = 0
    for entry in entries:
        if entry.kind is Kind.PRESENT:
            listed += entry.count * PAGE_SIZE
        if listed > size:
            break
        yield entry
    if listed != size:
        longer = "shorter" if listed > size else "longer"
        raise ImageError(
            f"{pages_file} is {size} bytes long, {longer} than the pages that are listed; {REMEDY}"
        )


def _inherited(
    entries: Iterable[Entry], below: Bitmap, image: Image, path: Path
) -> Iterator[Entry]:
    """Refuse a page that is left to a parent which lacks it; ``below`` is what that has."""
    runs = below.runs()
    start = end = 0
    for entry in entries:
        if entry.kind is Kind.PARENT:
            while end <= entry.first_page:
                start, count = next(runs, (MAX_PAGES, 1))
                end = start + count
            if entry.first_page < start or end < entry.end:
                missing = entry.first_page if entry.first_page < start else end
                raise ImageError(_lacking(image, path, missing))
        yield entry


def _lacking(image: Image, path: Path, page: int) -> str:
    if image.link is None:
        return f"{path} leaves page {page} to a parent, and there is no `{PARENT}`; put it there"
    return (
        f"{path} leaves page {page} to the parent, and {image.path / PARENT} ({image.link}) lacks "
        f"that page of this region; put the right parent there"
    )
