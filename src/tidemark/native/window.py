"""A mapping of our own of an object: its pages are copied without a system call for each."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Any, Self

from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE, check, ffi, lib, new_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tidemark.native.pages import Source


class Window:
    """Shows the object ``fd``, as long as it is now.

    :raises OSError: when it cannot be mapped
    :raises ValueError: when it is empty
    """

    def __init__(self, fd: int) -> None:
        size = os.fstat(fd).st_size
        self._show(mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ))
        self._owned = True

    def _show(self, memory: mmap.mmap) -> None:
        self.bytes = len(memory)
        self._memory = memory
        self._view: Any = ffi.from_buffer("unsigned char[]", memory)
        pages = -(-self.bytes // PAGE_SIZE)
        self._handle: Any = ffi.new("struct tm_window *", (self._view, pages))

    @classmethod
    def on(cls, memory: mmap.mmap) -> Self:
        """Return a window on what somebody else has mapped, who keeps it until this is closed."""
        window = cls.__new__(cls)
        window._show(memory)  # noqa: SLF001 - of this very class
        window._owned = False  # noqa: SLF001
        return window

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Show nothing any more."""
        ffi.release(self._view)
        if self._owned:
            self._memory.close()

    def copy(self, which: Bitmap, out: memoryview) -> None:
        """Copy the pages ``which`` to ``out``, one after the other; it has room for them.

        :raises ShortReadError: when the object is shorter
        """
        error = new_error()
        # Let go of at once, also by what is raised: `out` could not be released otherwise.
        with ffi.from_buffer("unsigned char[]", out, require_writable=True) as buffer:
            check(lib.tm_window_copy(self._handle, which.handle, buffer, error), error)

    def touch(self, which: Bitmap) -> None:
        """Have the kernel enter the pages ``which`` in our page table, so that copying is quick.

        A page that the object lacks is made by that.

        :raises ShortReadError: when the object is shorter
        """
        error = new_error()
        check(lib.tm_window_touch(self._handle, which.handle, error), error)

    def differing(self, source: Source, files: Mapping[int, Window], which: Bitmap) -> Bitmap:
        """Return the pages ``which`` that are not as ``source`` has them; nothing is copied.

        :param files: by descriptor, what shows the files of the source; a page of a file that is
            not among them differs, as does one that cannot be read
        """
        error = new_error()
        differs = Bitmap(which.pages)
        shown, count = _table(files)
        code = lib.tm_window_compare(
            self._handle, which.handle, source.handle, shown, count, differs.handle, error
        )
        check(code, error)
        return differs


def touch_files(source: Source, files: Mapping[int, Window]) -> None:
    """Have the kernel read what ``source`` has, and enter it in our page table."""
    error = new_error()
    shown, count = _table(files)
    check(lib.tm_files_touch(source.handle, shown, count, error), error)


def _table(files: Mapping[int, Window]) -> tuple[Any, int]:
    """Return the windows in a table in which each has its descriptor as its place."""
    count = max(files, default=-1) + 1
    shown = ffi.new("struct tm_window[]", count)
    for descriptor, window in files.items():
        shown[descriptor] = window._handle[0]  # noqa: SLF001 - of this very class
    return shown, count
