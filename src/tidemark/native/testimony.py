"""The kernel's testimony: whether shared memory was changed other than by a store to a mapping."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

import tidemark
from tidemark.native.library import check, ffi, lib, new_error

if TYPE_CHECKING:
    from collections.abc import Sequence


class Verdict(IntEnum):
    """What the kernel says of an object since it was looked at last."""

    UNTOUCHED = lib.TM_TESTIMONY_UNTOUCHED
    TOUCHED = lib.TM_TESTIMONY_TOUCHED
    UNKNOWN = lib.TM_TESTIMONY_UNKNOWN


class Testimony:
    """Has the kernel count, by BPF programs, what is done to objects, by whomever but this process.

    What counts is a write through any descriptor, a hole, a change of length, a new mapping that
    can be stored to, and pages that are handed out to a device. A store to a mapping that is there
    does not.

    :raises NativeError: when the process that holds the programs cannot be started
    """

    def __init__(self) -> None:
        error = new_error()
        testimony = ffi.new("struct tm_testimony **")
        check(lib.tm_testimony_open(_program(), testimony, error), error)
        self._testimony = testimony[0]

    def close(self) -> None:
        """Have the kernel count no more."""
        lib.tm_testimony_close(self._testimony)
        self._testimony = ffi.NULL

    def ready(self, *, wait: bool = False) -> bool:
        """Return whether the kernel counts by now: that takes some 50 ms, or seconds.

        :raises NativeError: when it never will, for want of privileges or of the kernel's means
        """
        error = new_error()
        ready = ffi.new("bool *")
        check(lib.tm_testimony_ready(self._testimony, wait, ready, error), error)
        return bool(ready[0])

    def add(self, fd: int) -> int:
        """Watch the object behind ``fd`` from now on; return its number.

        :raises LackingError: when it is nothing that the kernel counts for us
        :raises NativeError: when there are more objects than there is room for
        """
        error = new_error()
        number = ffi.new("uint32_t *")
        check(lib.tm_testimony_add(self._testimony, fd, number, error), error)
        return int(number[0])

    def remove(self, number: int) -> None:
        """Watch an object no more; one that was added twice has to be removed twice."""
        error = new_error()
        check(lib.tm_testimony_remove(self._testimony, number, error), error)

    def look(self, numbers: Sequence[int]) -> list[Verdict]:
        """Return what the kernel says of objects since each was looked at last.

        :raises NativeError: when the kernel does not count any more; nothing is known then
        """
        error = new_error()
        verdicts = ffi.new("unsigned char[]", len(numbers))
        check(lib.tm_testimony_look(self._testimony, numbers, len(numbers), verdicts, error), error)
        return [Verdict(verdict) for verdict in ffi.unpack(verdicts, len(numbers))]


def _program() -> bytes:
    """Return the path of the program that was built with the native library."""
    paths = [Path(directory, "tidemark-testimony") for directory in tidemark.__path__]
    return bytes(next((path for path in paths if path.exists()), paths[0]))
