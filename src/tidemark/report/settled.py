"""Which suspect pages turned out to have changed: those that an incremental image holds.

bitmap.pb is made before the suspects are compared, so it cannot say. Without this, every
page of a workload under the `content` tracker would read "suspect" on the heat map. The page
map is read without the native library: a report is made on any machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from tidemark.errors import ImageError
from tidemark.image.framing import PAGEMAP, read_messages
from tidemark.proto.criu_pb2 import PagemapEntry
from tidemark.report.bitmaps import CHUNK_PAGES, Chunks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PRESENT = 4


def present_pages(path: Path, pages: int, page_size: int) -> Chunks:
    """Return the pages whose content is in this dump, from the page map of a region of ``pages``.

    :raises ImageError: when the page map is missing or damaged
    """
    chunks: Chunks = {}
    for first, count in _present_runs(path, page_size):
        if first + count > pages:
            raise ImageError(f"{path} lists a page beyond the region's {pages}")
        _set_run(chunks, first, count)
    return chunks


def _present_runs(path: Path, page_size: int) -> Iterator[tuple[int, int]]:
    messages = read_messages(path, PAGEMAP)
    next(messages, None)  # the head: where the content is, which is not asked here
    for message in messages:
        try:
            entry = PagemapEntry.FromString(message)
        except DecodeError as error:
            raise ImageError(f"{path} holds a message that cannot be read") from error
        flags = entry.flags if entry.HasField("flags") else _PRESENT * (not entry.in_parent)
        if flags & _PRESENT:
            yield entry.vaddr // page_size, entry.nr_pages or entry.compat_nr_pages


def _set_run(chunks: Chunks, first: int, count: int) -> None:
    end = first + count
    while first < end:
        index, offset = divmod(first, CHUNK_PAGES)
        length = min(end - first, CHUNK_PAGES - offset)
        chunks[index] = chunks.get(index, 0) | ((1 << length) - 1) << offset
        first += length
