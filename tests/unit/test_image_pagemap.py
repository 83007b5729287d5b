"""Page maps: both of their spellings, and what is refused in them."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.errors import ImageError
from tidemark.image.framing import MESSAGE_BYTES
from tidemark.image.inventory import inventory_bytes, is_ours
from tidemark.image.pagemap import (
    ENTRY_PAGES,
    MAX_PAGES,
    Entry,
    Kind,
    merged,
    read_own,
    read_pagemap,
    write_pagemap,
)
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE
from tidemark.proto.criu_pb2 import Inventory, PagemapEntry, PagemapHead

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.message import Message

COMMON, PAGEMAP, INVENTORY = 0x54564319, 0x56084025, 0x58313116


def framed(*messages: Message | bytes, magics: tuple[int, ...] = (COMMON, PAGEMAP)) -> bytes:
    content = b"".join(struct.pack("<I", magic) for magic in magics)
    for message in messages:
        encoded = message if isinstance(message, bytes) else message.SerializeToString()
        content += struct.pack("<I", len(encoded)) + encoded
    return content


def old(page: int, count: int, **fields: int | bool) -> PagemapEntry:
    """Return an entry as CRIU 3.17 spells it."""
    return PagemapEntry(vaddr=page * PAGE_SIZE, compat_nr_pages=count, **fields)  # type: ignore[arg-type]


def new(page: int, count: int, flags: int) -> PagemapEntry:
    """Return an entry as CRIU 4.2 spells it."""
    return PagemapEntry(vaddr=page * PAGE_SIZE, compat_nr_pages=0, flags=flags, nr_pages=count)


def read(path: Path, content: bytes) -> list[tuple[int, int, str]]:
    path.write_bytes(content)
    pages_id, entries = read_pagemap(path)
    assert pages_id == 7
    return [(entry.first_page, entry.count, str(entry.kind)) for entry in entries]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pagemap-shmem-1.img"


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (old(3, 2), "present"),
        (old(3, 2, in_parent=False), "present"),
        (old(3, 2, in_parent=True), "parent"),
        (old(3, 2, flags=4), "present"),
        (old(3, 2, flags=6), "present"),
        (old(3, 2, flags=1), "parent"),
        (old(3, 2, flags=0, in_parent=True), "parent"),
        (old(3, 2, flags=1, in_parent=True), "parent"),
        (old(3, 2, flags=4, nr_pages=2), "present"),
        (new(3, 2, 4), "present"),
        (new(3, 2, 6), "present"),
        (new(3, 2, 1), "parent"),
    ],
    ids=str,
)
@pytest.mark.parametrize("magics", [(COMMON, PAGEMAP), (PAGEMAP,)], ids=["1.1", "1.0"])
def test_every_spelling_of_an_entry_is_read(
    path: Path, entry: PagemapEntry, kind: str, magics: tuple[int, ...]
) -> None:
    content = framed(PagemapHead(pages_id=7), entry, magics=magics)
    assert read(path, content) == [(3, 2, kind)]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (old(3, 2, flags=12), "flags 0xc"),
        (old(3, 2, flags=5), "flags 0x5"),
        (old(3, 2, flags=2), "flags 0x2"),
        (old(3, 2, flags=0), "flags 0x0"),
        (old(3, 2, flags=4, in_parent=True), "flags 0x4"),
        (old(3, 0, flags=4), "0 pages from page 3"),
        (new(3, 0, 4), "0 pages from page 3"),
        (old(3, 2, flags=4, nr_pages=0), "both 2 and 0"),
        (old(3, 2, flags=4, nr_pages=3), "both 2 and 3"),
        (PagemapEntry(vaddr=100, compat_nr_pages=1), "at 0x64, within a page"),
        (new(MAX_PAGES, 1, 4), "which cannot be"),
        (new(1, MAX_PAGES, 4), "which cannot be"),
        (new(0, (1 << 64) - 1, 1), "which cannot be"),
        (new((1 << 52) - 1, 1, 1), "which cannot be"),
        (b"\x08\x00", "lacks a required field"),
        (new(3, 2, 4).SerializeToString() + b"\x30\x01", "unknown field 6"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_entry_that_cannot_be_is_refused(
    path: Path, entry: PagemapEntry | bytes, words: str
) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        read(path, framed(PagemapHead(pages_id=7), entry))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "entries",
    [
        [new(0, 4, 4), new(3, 1, 4)],
        [new(0, 4, 4), new(3, 1, 1)],
        [new(5, 1, 4), new(0, 1, 4)],
        [new(5, 1, 1), new(5, 1, 1)],
    ],
)
def test_entries_that_overlap_or_descend_are_refused(
    path: Path, entries: list[PagemapEntry]
) -> None:
    with pytest.raises(ImageError, match="again, or out of order"):
        read(path, framed(PagemapHead(pages_id=7), *entries))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ends too early"),
        (b"\x19", "ends too early"),
        (framed(magics=(COMMON,)), "ends too early"),
        (framed(magics=(COMMON, INVENTORY)), "begins with 0x58313116, not 0x56084025"),
        (framed(), "holds no messages"),
        (framed() + b"\x01", "ends within a length"),
        (framed() + struct.pack("<I", 0x7FFFFFFF), "a message of 2147483647 bytes"),
        (framed() + struct.pack("<I", 3) + b"\x08\x07", "a message of 3 bytes"),
        (framed(bytes(MESSAGE_BYTES + 1)), "a message of 65537 bytes"),
        (framed(b""), "lacks a required field"),
        (framed(b"\x08"), "cannot be read"),
        (framed(b"\x08\x07\x10\x01"), "unknown field 2"),
    ],
)
def test_a_file_that_is_cut_or_of_another_kind_is_refused(
    path: Path, content: bytes, words: str
) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        read(path, content)
    assert str(path) in str(caught.value)


def test_a_page_map_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is not a file"):
        read_pagemap(tmp_path)
    with pytest.raises(ImageError, match="is missing"):
        read_pagemap(tmp_path / "missing.img")


def test_adjacent_entries_of_a_kind_are_joined_and_others_are_not() -> None:
    present, parent = Kind.PRESENT, Kind.PARENT
    entries = [Entry(0, 256, present), Entry(256, 4, present), Entry(260, 1, parent)]
    more = [Entry(261, 2, parent), Entry(264, 1, parent), Entry(265, 1, present)]
    assert list(merged(entries + more)) == [
        Entry(0, 260, present),
        Entry(260, 3, parent),
        Entry(264, 1, parent),
        Entry(265, 1, present),
    ]


def written(entries: list[Entry]) -> bytes:
    file = io.BytesIO()
    length = max((entry.end for entry in entries), default=0)
    sets = {
        kind: Bitmap(length, [(e.first_page, e.count) for e in entries if e.kind is kind])
        for kind in Kind
    }
    write_pagemap(file, 7, sets[Kind.PRESENT], sets[Kind.PARENT])
    return file.getvalue()


def test_an_entry_is_written_so_that_criu_3_17_and_4_2_both_read_it() -> None:
    content = written([Entry(2, 3, Kind.PRESENT), Entry(5, 1, Kind.PARENT)])
    assert content == framed(
        PagemapHead(pages_id=7),
        old(2, 3, flags=4, nr_pages=3),
        old(5, 1, flags=1, nr_pages=1),
    )


def test_no_written_entry_is_longer_than_one_read_of_criu_s(path: Path) -> None:
    run = Entry(1, 2 * ENTRY_PAGES + 1, Kind.PRESENT)
    assert read(path, written([run])) == [
        (1, ENTRY_PAGES, "present"),
        (1 + ENTRY_PAGES, ENTRY_PAGES, "present"),
        (1 + 2 * ENTRY_PAGES, 1, "present"),
    ]
    assert ENTRY_PAGES * PAGE_SIZE < 1 << 31
    path.write_bytes(written([run]))
    assert list(merged(read_pagemap(path)[1])) == [run]


@given(pages=st.lists(st.sampled_from([None, *Kind]), max_size=64))
def test_what_is_written_reads_as_it_was(
    pages: list[Kind | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "pagemap.img"
    path.write_bytes(written([Entry(page, 1, kind) for page, kind in enumerate(pages) if kind]))
    read_back: list[Kind | None] = [None] * len(pages)
    for entry in read_pagemap(path)[1]:
        read_back[entry.first_page : entry.end] = [entry.kind] * entry.count
    assert read_back == pages
    here, there = (
        Bitmap(len(pages), ((page, 1) for page, found in enumerate(pages) if found is kind))
        for kind in (Kind.PRESENT, Kind.PARENT)
    )
    assert read_own(path, 7, len(pages), len(here), len(there)) == (here, there)
    if here:
        assert read_own(path, 7, len(pages), len(here) - 1, len(there)) is None
    if there:
        assert read_own(path, 7, len(pages), len(here), len(there) - 1) is None


@given(content=st.binary(max_size=40), cut=st.integers(0, 60))
def test_what_we_do_not_write_is_not_taken_for_ours(
    content: bytes, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "pagemap.img"
    ours = written([Entry(1, 3, Kind.PRESENT), Entry(9, 2, Kind.PARENT)])
    path.write_bytes(ours[:cut] + content + ours[cut:])
    read_back = read_own(path, 7, 12, 3, 2)
    if read_back is not None:
        assert path.read_bytes() == written(list(merged(read_pagemap(path)[1])))


def test_our_inventory_is_one_that_criu_reads_and_is_told_from_its_own(tmp_path: Path) -> None:
    path = tmp_path / "inventory.img"
    path.write_bytes(inventory_bytes())
    assert is_ours(path)
    assert path.read_bytes().startswith(struct.pack("<I", INVENTORY))
    assert Inventory.FromString(path.read_bytes()[8:]).img_version == 2
    path.write_bytes(framed(Inventory(img_version=2), magics=(INVENTORY,)))
    assert not is_ours(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (framed(Inventory(img_version=3), magics=(INVENTORY,)), "image version 3"),
        (framed(magics=(INVENTORY,)), "holds no messages"),
        (framed(*[Inventory(img_version=2)] * 2, magics=(INVENTORY,)), "holds several messages"),
        (framed(Inventory(img_version=2), magics=(COMMON, INVENTORY)), "begins with 0x54564319"),
        (framed(b"\x10\x01", magics=(INVENTORY,)), "lacks a required field"),
    ],
)
def test_a_damaged_or_later_inventory_is_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "inventory.img"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=words):
        is_ours(path)
