"""Sparse bitmaps over the pages of a region."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from tidemark.native.library import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Run = tuple[int, int]
"""First page and number of pages."""

CHUNK_PAGES: int = lib.TM_CHUNK_PAGES
CHUNK_BYTES: int = lib.TM_CHUNK_BYTES
_BATCH = 1024


class Bitmap:
    """A set of pages, of the numbers 0 to ``pages`` - 1.

    Memory is proportional to the stretches of 4,096 pages in which a page is set.

    :raises MemoryError: when there is no memory for it
    """

    def __init__(self, pages: int, runs: Iterable[Run] = ()) -> None:
        handle = lib.tm_bitmap_create(pages)
        if handle == ffi.NULL:
            raise MemoryError(f"no memory for a bitmap of {pages} pages")
        self.handle: Any = ffi.gc(handle, lib.tm_bitmap_destroy)
        for first, count in runs:
            self.set(first, count)

    @property
    def pages(self) -> int:
        """The length in pages."""
        return int(lib.tm_bitmap_pages(self.handle))

    def grow(self, pages: int) -> None:
        """Lengthen to ``pages`` with zero bits; never shorten."""
        lib.tm_bitmap_grow(self.handle, pages)

    def set(self, first: int, count: int = 1) -> None:
        """Add a run of pages.

        :raises IndexError: when the run leaves the bitmap; then nothing is added
        """
        _check(lib.tm_bitmap_set(self.handle, first, count), first + count)

    def clear(self, first: int, count: int = 1) -> None:
        """Take a run of pages out; what is beyond the end is out already."""
        lib.tm_bitmap_clear(self.handle, first, count)

    def __contains__(self, page: int) -> bool:
        return bool(lib.tm_bitmap_test(self.handle, page))

    def __len__(self) -> int:
        return int(lib.tm_bitmap_count(self.handle))

    def __bool__(self) -> bool:
        return bool(lib.tm_bitmap_next(self.handle, 0, ffi.new("struct tm_run *")))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bitmap):
            return NotImplemented
        return list(self.chunks()) == list(other.chunks())

    __hash__ = None  # type: ignore[assignment]  # it can change

    def __ior__(self, other: Bitmap) -> Self:
        _check(lib.tm_bitmap_or(self.handle, other.handle), other.pages)
        return self

    def __iand__(self, other: Bitmap) -> Self:
        lib.tm_bitmap_and(self.handle, other.handle)
        return self

    def __isub__(self, other: Bitmap) -> Self:
        lib.tm_bitmap_andnot(self.handle, other.handle)
        return self

    def __or__(self, other: Bitmap) -> Bitmap:
        return self.copy().__ior__(other)

    def __and__(self, other: Bitmap) -> Bitmap:
        return self.copy().__iand__(other)

    def __sub__(self, other: Bitmap) -> Bitmap:
        return self.copy().__isub__(other)

    def copy(self) -> Bitmap:
        """Return an independent bitmap of the same length and pages."""
        return Bitmap(self.pages).__ior__(self)

    def within(self, first: int, count: int) -> Bitmap:
        """Return the pages of a run that are in the bitmap."""
        part = self.copy()
        part.clear(0, first)
        part.clear(first + count, max(0, self.pages - first - count))
        return part

    def sample(self, seed: int, share: float) -> Bitmap:
        """Return about a ``share`` (0 to 1) of the pages: for one seed always the same ones."""
        kept = self.copy()
        lib.tm_bitmap_sample(kept.handle, seed, share)
        return kept

    def runs(self) -> Iterator[Run]:
        """Yield the maximal runs of set pages, ascending. Do not change the bitmap meanwhile."""
        batch = ffi.new(f"struct tm_run[{_BATCH}]")
        page = 0
        while count := lib.tm_bitmap_runs(self.handle, page, _BATCH, batch):
            for run in ffi.unpack(batch, count):
                yield run.first, run.count
            page = batch[count - 1].first + batch[count - 1].count

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield the index and the 4096 bytes of every chunk with a set bit, ascending."""
        bits = ffi.new("unsigned char[]", CHUNK_BYTES)
        index = ffi.new("uint64_t *")
        start = 0
        while lib.tm_bitmap_chunk(self.handle, start, index, bits):
            yield index[0], bytes(ffi.buffer(bits))
            start = index[0] + 1

    def blocks(self, block: int) -> Iterator[Run]:
        """Yield the runs of whole blocks of ``block`` pages in which a page is set, ascending.

        The last one is cut at the end of the bitmap.
        """
        run = ffi.new("struct tm_run *")
        page = 0
        while lib.tm_bitmap_next_blocks(self.handle, block, page, run):
            yield run.first, run.count
            page = run.first + run.count

    def load(self, index: int, bits: bytes) -> None:
        """Replace one chunk by ``bits``.

        :raises ValueError: when ``bits`` is not one chunk long
        :raises IndexError: when a bit at or beyond the end is set
        """
        if len(bits) != CHUNK_BYTES:
            raise ValueError(f"a chunk has {CHUNK_BYTES} bytes, not {len(bits)}")
        _check(lib.tm_bitmap_load(self.handle, index, bits), (index + 1) * CHUNK_PAGES)


def encode_pagemap(present: Bitmap, in_parent: Bitmap, most: int) -> bytes:
    """Return the entries of a page map of CRIU's, none of more than ``most`` pages."""
    handles = (present.handle, in_parent.handle, most)
    size = lib.tm_pagemap_encode(*handles, 0, ffi.NULL)
    buffer = ffi.new("unsigned char[]", size)
    lib.tm_pagemap_encode(*handles, size, buffer)
    return bytes(ffi.buffer(buffer))


def decode_pagemap(
    entries: bytes, pages: int, present: int, in_parent: int
) -> tuple[Bitmap, Bitmap] | None:
    """Return the pages that are here and those in the parent; None for what we do not write.

    :param pages: the length of the region
    :param present: how many pages can be here at most, as ``in_parent`` can be in the parent
    """
    here, there = Bitmap(pages), Bitmap(pages)
    most = (present, in_parent)
    code = lib.tm_pagemap_decode(entries, len(entries), most, here.handle, there.handle)
    if code == lib.TM_CHANGED:
        return None
    _check(code, pages)
    return here, there


def _check(code: int, end: int) -> None:
    if code == lib.TM_BOUNDS:
        raise IndexError(f"page {end - 1} is beyond the end of the bitmap")
    if code != lib.TM_OK:
        raise MemoryError(f"no memory for a bitmap up to page {end}")
