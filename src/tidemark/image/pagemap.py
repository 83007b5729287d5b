"""pagemap-shmem-N.img: which pages of a region a dump holds, or leaves to its parent."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO

from tidemark.bounded import read_regular
from tidemark.errors import ImageError
from tidemark.image.framing import PAGEMAP, REMEDY, file_size, frame, read_messages, reading
from tidemark.image.messages import parse_known, serialize
from tidemark.native.bitmap import decode_pagemap, encode_pagemap
from tidemark.native.library import PAGE_SIZE
from tidemark.native.pages import hash_of
from tidemark.proto.criu_pb2 import PagemapEntry, PagemapHead

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tidemark.native.bitmap import Bitmap

MAX_PAGES = (1 << 47) // PAGE_SIZE
"""The longest region that is believed: 128 TiB, all that a process can map."""

ENTRY_PAGES = (1 << 30) // PAGE_SIZE
"""The longest entry that is written: CRIU reads each by one call, which stops at 2 GiB."""

_ENTRY_BYTES = 64
"""More than an entry of ours takes, or what stands before the first."""

_PARENT, _LAZY, _PRESENT = 1, 2, 4


class Kind(StrEnum):
    """Where the content of pages is."""

    PRESENT = "present"
    PARENT = "parent"


_FLAGS = {
    _PRESENT: Kind.PRESENT,
    _PRESENT | _LAZY: Kind.PRESENT,  # may be fetched later, but is here already
    _PARENT: Kind.PARENT,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A run of ``count`` pages from ``first_page`` on."""

    first_page: int
    count: int
    kind: Kind

    @property
    def end(self) -> int:
        """The first page behind the run."""
        return self.first_page + self.count


def read_pagemap(path: Path) -> tuple[int, Iterator[Entry]]:
    """Return N of the pages-N.img that belongs to a page map, and its entries as they stand.

    The entries are checked while they are read: they ascend and do not overlap.

    :raises ImageError: when the file is damaged, also from the iterator
    """
    messages = read_messages(path, PAGEMAP)
    first = next(messages, None)
    if first is None:
        raise ImageError(f"{path} holds no messages; {REMEDY}")
    return parse_known(PagemapHead, first, path).pages_id, _entries(messages, path)


def read_own(  # noqa: PLR0913, PLR0917 - all of it is what the manifest says
    path: Path, pages_id: int, pages: int, present: int, in_parent: int, xxh3: str | None = None
) -> tuple[Bitmap, Bitmap] | None:
    """Return the pages present and in the parent of a page map as :func:`write_pagemap` writes it.

    None for any other, one with more pages than are expected and one with another hash than
    ``xxh3`` included: :func:`read_pagemap` reads it, or says what is wrong.
    """
    most = _ENTRY_BYTES * (present + in_parent + 1)
    if file_size(path) > most:
        return None
    with reading(path):
        content = read_regular(path, most, text=False)
    begin = _begin(pages_id)
    if not content.startswith(begin) or xxh3 not in {None, hash_of(content).hex()}:
        return None
    return decode_pagemap(content[len(begin) :], pages, present, in_parent)


def _entries(messages: Iterator[bytes], path: Path) -> Iterator[Entry]:
    end = 0
    for message in messages:
        entry = _entry(parse_known(PagemapEntry, message, path), path)
        if entry.first_page < end:
            raise ImageError(
                f"{path} lists page {entry.first_page} again, or out of order; {REMEDY}"
            )
        end = entry.end
        yield entry


def _entry(raw: PagemapEntry, path: Path) -> Entry:
    first, rest = divmod(raw.vaddr, PAGE_SIZE)
    count = _count(raw, path)
    if rest:
        raise ImageError(f"{path} has an entry at {raw.vaddr:#x}, within a page; {REMEDY}")
    if count == 0 or first + count > MAX_PAGES:
        raise ImageError(
            f"{path} has an entry of {count} pages from page {first} on, which cannot be; {REMEDY}"
        )
    return Entry(first, count, _kind(raw, path))


def _count(raw: PagemapEntry, path: Path) -> int:
    """Return the length: CRIU 3.17 writes it to field 2 alone, 4.2 to field 5, and 0 to 2."""
    if not raw.HasField("nr_pages"):
        return raw.compat_nr_pages
    if raw.compat_nr_pages not in {0, raw.nr_pages}:
        raise ImageError(
            f"{path} has an entry of both {raw.compat_nr_pages} and {raw.nr_pages} pages; {REMEDY}"
        )
    return raw.nr_pages


def _kind(raw: PagemapEntry, path: Path) -> Kind:
    flags = raw.flags if raw.HasField("flags") else 0 if raw.in_parent else _PRESENT
    kind = _FLAGS.get(flags | (_PARENT if raw.in_parent else 0))
    if kind is None:
        raise ImageError(
            f"{path} has an entry with the flags {flags:#x}, which have no meaning here: it is "
            f"damaged, or of a CRIU that is newer than what this version reads; {REMEDY}"
        )
    return kind


def merged(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the entries with adjacent runs of one kind joined."""
    last: Entry | None = None
    for entry in entries:
        if last and last.end == entry.first_page and last.kind == entry.kind:
            last = Entry(last.first_page, last.count + entry.count, last.kind)
            continue
        if last:
            yield last
        last = entry
    if last:
        yield last


def write_pagemap(file: BinaryIO, pages_id: int, present: Bitmap, in_parent: Bitmap) -> None:
    """Write a page map whose content is in pages-<pages_id>.img; the bitmaps are disjoint.

    The length stands in both of its fields: CRIU 3.17 knows only the first, 4.2 reads the second
    where it is there, and some tools for 4.2 want it.
    """
    file.write(_begin(pages_id))
    file.write(encode_pagemap(present, in_parent, ENTRY_PAGES))


def _begin(pages_id: int) -> bytes:
    return frame(PAGEMAP) + serialize(PagemapHead(pages_id=pages_id))
