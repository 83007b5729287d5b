"""A mapping of our own of an object: its pages are copied without a system call for each."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Any

from tidemark.native.library import PAGE_SIZE, check, ffi, lib, new_error

if TYPE_CHECKING:
    from tidemark.native.bitmap import Bitmap


class Window:
    """Shows the object ``fd``, as long as it is now.

    :raises OSError: when it cannot be mapped
    :raises ValueError: when it is empty
    """

    def __init__(self, fd: int) -> None:
        self.bytes = os.fstat(fd).st_size
        self._memory = mmap.mmap(fd, self.bytes, mmap.MAP_SHARED, mmap.PROT_READ)
        self._view: Any = ffi.from_buffer("unsigned char[]", self._memory)
        pages = -(-self.bytes // PAGE_SIZE)
        self._handle: Any = ffi.new("struct tm_window *", (self._view, pages))

    def close(self) -> None:
        """Show nothing any more."""
        ffi.release(self._view)
        self._memory.close()

    def copy(self, which: Bitmap, out: memoryview) -> None:
        """Copy the pages ``which`` to ``out``, one after the other; it has room for them.

        :raises ShortReadError: when the object is shorter
        """
        error = new_error()
        buffer = ffi.from_buffer("unsigned char[]", out, require_writable=True)
        check(lib.tm_window_copy(self._handle, which.handle, buffer, error), error)

    def touch(self, which: Bitmap) -> None:
        """Have the kernel enter the pages ``which`` in our page table, so that copying is quick.

        A page that the object lacks is made by that.

        :raises ShortReadError: when the object is shorter
        """
        error = new_error()
        check(lib.tm_window_touch(self._handle, which.handle, error), error)
