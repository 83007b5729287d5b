"""The content of pages, wherever it is: read, packed, placed, hashed, compared."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE, check, ffi, lib, new_error
from tidemark.native.pool import pool

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HASH_BYTES: int = lib.TM_HASH_BYTES


@dataclass(frozen=True, slots=True)
class Extent:
    """``count`` pages from ``page`` on stand in file ``fd`` from byte ``offset`` on."""

    page: int
    count: int
    offset: int
    fd: int


@dataclass(frozen=True, slots=True)
class Layer:
    """Pages that stand one after the other in a file, from byte ``offset`` on."""

    pages: Bitmap
    offset: int


class Source:
    """Where the pages of a region can be read; a page in no extent reads zero.

    The descriptors stay the caller's, who keeps them open as long as the source is used.

    :param live: the extents are of objects, or of the memory of processes, which can be cut off at
        any time: what is not there then reads zero, too
    :raises ValueError: when extents overlap
    """

    def __init__(self, extents: Iterable[Extent], *, live: bool = False) -> None:
        ordered = sorted(extents, key=lambda extent: extent.page)
        for before, after in pairwise(ordered):
            if before.page + before.count > after.page:
                raise ValueError(f"extents overlap at page {after.page}")
        self._hold(
            ffi.new("struct tm_extent[]", [(e.page, e.count, e.offset, e.fd) for e in ordered]),
            live=live,
        )

    def _hold(self, extents: Any, *, live: bool = False) -> None:
        self._extents = extents
        self.handle: Any = ffi.new("struct tm_source *", (extents, len(extents), pool(), live))

    @classmethod
    def file(cls, fd: int, pages: int) -> Source:
        """Return a source of ``pages`` pages that stand in ``fd`` from its start on."""
        return cls([Extent(0, pages, 0, fd)])

    @classmethod
    def packed(cls, which: Bitmap, fd: int, offset: int = 0) -> Source:
        """Return a source of the pages ``which``, packed in ``fd`` from byte ``offset`` on."""
        return cls.layered([Layer(which, offset)], fd)

    @classmethod
    def layered(cls, layers: Sequence[Layer], fd: int) -> Source:
        """Return a source of pages in ``fd``; a page of two layers is read from the later one."""
        counts: list[int] = []
        wanted: list[tuple[Any, ...]] = []
        covered = Bitmap(0)
        for layer in reversed(layers):
            on_top = layer.pages - covered
            covered |= layer.pages
            wanted.append((on_top.handle, layer.pages.handle, fd, layer.offset))
            counts.append(lib.tm_extents_packed(*wanted[-1], 0, ffi.NULL))
        extents = ffi.new("struct tm_extent[]", sum(counts))
        done = 0
        for arguments, count in zip(wanted, counts, strict=True):
            lib.tm_extents_packed(*arguments, count, extents + done)
            done += count
        lib.tm_extents_sort(extents, done)
        source = cls(())
        source._hold(extents)
        return source

    def read(self, page: int, count: int = 1) -> bytes:
        """Return the content of ``count`` pages.

        :raises ShortReadError: when a file ends before
        """
        error = new_error()
        buffer = ffi.new("unsigned char[]", count * PAGE_SIZE)
        check(lib.tm_pages_read(self.handle, page, count, buffer, error), error)
        return bytes(ffi.buffer(buffer))

    def pack(self, which: Bitmap, out: int) -> bytes:
        """Write the pages of ``which`` to the file ``out``, one after the other, where it stands.

        Returns the XXH3-128 of each page, 16 bytes each.

        :raises NativeError: when a page cannot be read or written
        """
        error = new_error()
        hashes = ffi.new("unsigned char[]", len(which) * HASH_BYTES)
        check(lib.tm_pages_pack(self.handle, which.handle, out, hashes, error), error)
        return bytes(ffi.buffer(hashes))

    def copy(self, which: Bitmap, out: memoryview) -> None:
        """Copy the pages of ``which`` to ``out``, one after the other.

        :raises ValueError: when ``out`` has no room for them
        :raises NativeError: when a page cannot be read
        """
        if out.nbytes < len(which) * PAGE_SIZE:
            raise ValueError(f"{out.nbytes} bytes are no room for {len(which)} pages")
        error = new_error()
        # Let go of at once, also by what is raised: `out` could not be released otherwise.
        with ffi.from_buffer("unsigned char[]", out, require_writable=True) as buffer:
            check(lib.tm_pages_copy(self.handle, which.handle, buffer, error), error)

    def place(self, which: Bitmap, out: int) -> None:
        """Write the pages of ``which`` to their own place in ``out``, leaving out zero pages.

        :raises NativeError: when a page cannot be read or written
        """
        error = new_error()
        check(lib.tm_pages_place(self.handle, which.handle, out, error), error)

    def transfer(self, which: Bitmap, out: int) -> None:
        """Have the kernel copy the pages of ``which`` to their own place in ``out``, zero or not.

        :raises NativeError: when a page cannot be read or written
        """
        error = new_error()
        check(lib.tm_pages_transfer(self.handle, which.handle, out, error), error)

    def hash(self, which: Bitmap) -> bytes:
        """Return the XXH3-128 of each page of ``which``, 16 bytes each."""
        error = new_error()
        hashes = ffi.new("unsigned char[]", len(which) * HASH_BYTES)
        check(lib.tm_pages_hash(self.handle, which.handle, hashes, error), error)
        return bytes(ffi.buffer(hashes))

    def differing(self, other: Source, which: Bitmap) -> Bitmap:
        """Return the pages of ``which`` whose content is not the same in ``other``."""
        error = new_error()
        differs = Bitmap(which.pages)
        code = lib.tm_pages_compare(self.handle, other.handle, which.handle, differs.handle, error)
        check(code, error)
        return differs

    def zero(self, which: Bitmap) -> Bitmap:
        """Return the pages of ``which`` that are all zero."""
        error = new_error()
        zero = Bitmap(which.pages)
        check(lib.tm_pages_zero(self.handle, which.handle, zero.handle, error), error)
        return zero


def data_pages(fd: int, pages: int) -> Bitmap:
    """Return the pages of the file ``fd`` that hold data: in memory, in swap or on disk."""
    error = new_error()
    data = Bitmap(pages)
    check(lib.tm_pages_data(fd, data.handle, error), error)
    return data


def born_pages(fd: int, data: Bitmap) -> Bitmap:
    """Return the pages of the file ``fd`` that hold data, beyond those in ``data``.

    Only what lies between these is looked at: work is proportional to what is new.
    """
    error = new_error()
    born = Bitmap(data.pages)
    check(lib.tm_pages_born(fd, data.handle, born.handle, error), error)
    return born


def mapped_page(fd: int, page: int) -> bytes:
    """Return a page of a file as who maps it sees it, beyond the end of the file included.

    :raises ShortReadError: when the file ends before the page
    """
    error = new_error()
    buffer = ffi.new("unsigned char[]", PAGE_SIZE)
    check(lib.tm_page_mapped(fd, page, buffer, error), error)
    return bytes(ffi.buffer(buffer))


def hash_of(content: bytes) -> bytes:
    """Return the XXH3-128 of some bytes."""
    digest = ffi.new("unsigned char[]", HASH_BYTES)
    lib.tm_hash(content, len(content), digest)
    return bytes(ffi.buffer(digest))


def file_hash(fd: int, size: int) -> bytes:
    """Return the XXH3-128 of the first ``size`` bytes of a file.

    :raises ShortReadError: when the file is shorter
    """
    error = new_error()
    digest = ffi.new("unsigned char[]", HASH_BYTES)
    check(lib.tm_file_hash(fd, size, digest, error), error)
    return bytes(ffi.buffer(digest))


def differing_hashes(which: Bitmap, hashes: bytes, other: Bitmap, other_hashes: bytes) -> Bitmap:
    """Return the pages whose hash differs, or that only one of the two bitmaps has.

    :raises ValueError: when there is not one hash for each page
    """
    _check_hashes(which, hashes)
    _check_hashes(other, other_hashes)
    error = new_error()
    differs = Bitmap(max(which.pages, other.pages))
    code = lib.tm_hashes_compare(
        which.handle, hashes, other.handle, other_hashes, differs.handle, error
    )
    check(code, error)
    return differs


def zero_by_hash(which: Bitmap, hashes: bytes) -> Bitmap:
    """Return the pages of ``which`` that are all zero, by their hashes, which are packed.

    :raises ValueError: when there is not one hash for each page
    """
    _check_hashes(which, hashes)
    error = new_error()
    zero = Bitmap(which.pages)
    nothing = Source(()).hash(Bitmap(1, [(0, 1)]))
    check(lib.tm_hashes_find(which.handle, hashes, nothing, zero.handle, error), error)
    return zero


def _check_hashes(pages: Bitmap, hashes: bytes) -> None:
    if len(pages) * HASH_BYTES != len(hashes):
        raise ValueError(f"{len(hashes)} bytes of hashes for {len(pages)} pages")
