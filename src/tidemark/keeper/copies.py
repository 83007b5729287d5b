"""Memory into which pages are copied while a workload stands, to be written when it runs again."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

from tidemark.native.library import PAGE_SIZE
from tidemark.native.pages import Extent

if TYPE_CHECKING:
    from tidemark.native.bitmap import Bitmap
    from tidemark.native.pages import Source

KEPT_PAGES = (64 << 20) // PAGE_SIZE
"""How much memory is kept from copy to copy: pages that exist already are filled faster."""


class Copies:
    """A memory file of our own. What was copied is good until :meth:`end`."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("tidemark-copies", os.MFD_CLOEXEC)
        self._memory: mmap.mmap | None = None
        self._pages = 0
        self._taken = 0

    def begin(self, pages: int) -> None:
        """Make room for ``pages``.

        :raises OSError: when there is no memory for them
        """
        self._taken = 0
        if pages > self._pages:
            self._resize(pages)

    def take(self, source: Source, which: Bitmap) -> list[Extent]:
        """Copy the pages ``which``; return where they can be read."""
        if not which:
            return []
        assert self._memory is not None  # noqa: S101 - `begin` was told of them
        with memoryview(self._memory) as memory, memory[self._taken * PAGE_SIZE :] as room:
            source.copy(which, room)
        extents = []
        for first, count in which.runs():
            extents.append(Extent(first, count, self._taken * PAGE_SIZE, self.descriptor))
            self._taken += count
        return extents

    def end(self) -> None:
        """Give back what memory is beyond a modest amount."""
        if self._pages > KEPT_PAGES:
            self._resize(KEPT_PAGES)

    def close(self) -> None:
        """Give all of the memory back."""
        self._unmap()
        os.close(self.descriptor)

    def _resize(self, pages: int) -> None:
        self._unmap()
        os.ftruncate(self.descriptor, pages * PAGE_SIZE)
        self._memory = mmap.mmap(self.descriptor, pages * PAGE_SIZE)
        self._pages = pages

    def _unmap(self) -> None:
        if self._memory is not None:
            self._memory.close()
            self._memory = None
            self._pages = 0
