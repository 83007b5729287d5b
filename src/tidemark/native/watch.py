"""Being told of writes through descriptors: inotify(7)."""

from __future__ import annotations

import os
import struct

from tidemark.native.library import check, ffi, lib, new_error

_EVENT = struct.Struct("iIII")
_OVERFLOW = -1


class Watch:
    """Reports which of the files added to it were opened, or written with write(2) and its kin.

    Reported, too, is when one is let go by who had it open for writing, or mapped from that, and
    when its times are set (futimens(2)).

    Stores to a mapping are not reported; nor are asynchronous writes (io_submit(2)), nor, on
    kernels since 6.14, writes through the descriptor that memfd_create(2) returned.

    :raises NativeError: when the user has too many inotify instances
    """

    def __init__(self) -> None:
        error = new_error()
        descriptor = ffi.new("int *")
        check(lib.tm_watch_open(descriptor, error), error)
        self._descriptor: int = descriptor[0]

    def close(self) -> None:
        """Watch no more."""
        os.close(self._descriptor)

    def add(self, fd: int) -> int:
        """Watch the file behind ``fd``; return its number in the reports.

        :raises NativeError: when the user watches too many files
        """
        error = new_error()
        number = ffi.new("int *")
        check(lib.tm_watch_add(self._descriptor, fd, number, error), error)
        return int(number[0])

    def written(self) -> set[int] | None:
        """Return the files opened or written since the last call; None when events were lost."""
        found: set[int] = set()
        while True:
            try:
                events = os.read(self._descriptor, 65536)
            except BlockingIOError:
                return None if _OVERFLOW in found else found
            offset = 0
            while offset < len(events):
                number, _, _, name = _EVENT.unpack_from(events, offset)
                found.add(number)
                offset += _EVENT.size + name
