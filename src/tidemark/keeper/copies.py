"""Memory into which pages are copied while a workload stands, to be written when it runs again."""

from __future__ import annotations

import contextlib
import mmap
import os
from typing import TYPE_CHECKING, Protocol

from tidemark.native.library import PAGE_SIZE
from tidemark.native.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tidemark.native.bitmap import Bitmap

KEPT_PAGES = (64 << 20) // PAGE_SIZE
"""How much memory is kept from copy to copy: pages that exist already are filled faster."""

_AT_ONCE = 1024
"""So many pages are made within a few milliseconds, in which no other thread of ours runs."""

_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE of madvise(2), Linux 5.14


class Readable(Protocol):
    """What pages can be copied from."""

    def copy(self, which: Bitmap, out: memoryview) -> None:
        """Copy the pages ``which`` to ``out``, one after the other."""


class Copies:
    """A memory file of our own. What was copied is good until :meth:`end`."""

    def __init__(self) -> None:
        self.descriptor = _new_file()
        self._memory: mmap.mmap | None = None
        self._pages = 0
        self._populated = 0
        self._taken = 0

    @property
    def taken(self) -> int:
        """How many pages were copied since :meth:`begin`."""
        return self._taken

    def begin(self) -> None:
        """Forget what was copied."""
        self._taken = 0

    def prepare(self, more: int) -> None:
        """Have memory for so many ``more`` pages at hand, before it is needed in a hurry.

        :raises OSError: when there is none
        """
        self.make_room(more)
        pages = self._taken + more
        if self._memory is not None and pages > self._populated:
            with contextlib.suppress(OSError):  # an older kernel makes them when they are needed
                for page in range(self._populated, pages, _AT_ONCE):  # others may run in between
                    count = min(_AT_ONCE, pages - page)
                    self._memory.madvise(_POPULATE_WRITE, page * PAGE_SIZE, count * PAGE_SIZE)
            self._populated = pages

    def make_room(self, more: int) -> None:
        """Make room for so many ``more`` pages.

        :raises OSError: when there is no memory for them
        """
        if self._taken + more > self._pages:
            self._resize(self._taken + more)

    def take(self, source: Readable, which: Bitmap) -> int:
        """Copy the pages ``which``, packed; return from which byte of the file on."""
        begin = self._taken * PAGE_SIZE
        if which:
            assert self._memory is not None  # noqa: S101 - `begin` was told of them
            with memoryview(self._memory) as memory, memory[begin:] as room:
                source.copy(which, room)
            self._taken += len(which)
        return begin

    @contextlib.contextmanager
    def shown(self) -> Iterator[Window]:
        """Show the copies, for comparing with them."""
        assert self._memory is not None  # noqa: S101 - something was copied
        with Window.on(self._memory) as window:
            yield window

    def end(self) -> None:
        """Give back what memory is beyond a modest amount."""
        if self._pages > KEPT_PAGES:
            self._resize(KEPT_PAGES)

    def renew(self) -> None:
        """Leave the file as it is to whoever reads it, and have another."""
        self.close()
        self.descriptor = _new_file()

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
            self._pages = self._populated = 0


def _new_file() -> int:
    return os.memfd_create("tidemark-copies", os.MFD_CLOEXEC)
