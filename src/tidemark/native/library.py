"""The extension module, and the one table that turns its codes into exceptions."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tidemark._native import ffi, lib
from tidemark.errors import AttachError, StorageError, TidemarkError, UnsupportedError
from tidemark.files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["PAGE_SIZE", "NativeError", "check", "error_from", "ffi", "lib", "new_error", "writing"]

PAGE_SIZE: int = lib.tm_page_size()


class NativeError(TidemarkError):
    """A call of the native library failed.

    ``code`` is a ``tm_code`` of tidemark.h, ``errno`` 0 where no system call failed, ``pid``
    and ``address`` 0 where there is none.
    """

    def __init__(self, message: str, code: int, errno: int, pid: int, address: int) -> None:
        super().__init__(message)
        self.code = code
        self.errno = errno
        self.pid = pid
        self.address = address


class ProcessGoneError(NativeError):
    """The process or thread has ended, or is about to."""

    exit_code = AttachError.exit_code


class TracedError(NativeError):
    """Another tracer holds the process."""

    exit_code = AttachError.exit_code


class ForbiddenError(NativeError):
    """The privileges do not suffice."""

    exit_code = AttachError.exit_code


class ChangedError(NativeError):
    """A mapping or an object is not what it was."""


class LackingError(NativeError):
    """The kernel or machine lacks the feature."""

    exit_code = UnsupportedError.exit_code


class ShortReadError(NativeError):
    """A file or memory holds fewer bytes than it should."""


class OutOfSpaceError(NativeError):
    """A file system is full, or does not take a file of that size."""

    exit_code = StorageError.exit_code


_EXCEPTIONS: dict[int, type[NativeError]] = {
    lib.TM_GONE: ProcessGoneError,
    lib.TM_CHANGED: ChangedError,
    lib.TM_TRACED: TracedError,
    lib.TM_FORBIDDEN: ForbiddenError,
    lib.TM_UNSUPPORTED: LackingError,
    lib.TM_SHORT: ShortReadError,
}


def new_error() -> Any:
    """Return a ``struct tm_error`` for a call to fill."""
    return ffi.new("struct tm_error *")


def error_from(error: Any) -> NativeError:
    """Return the exception that a filled ``struct tm_error`` stands for."""
    message = ffi.string(error.what).decode(errors="replace")
    if error.sys_errno:
        message += f": {os.strerror(error.sys_errno)}"
    if error.pid:
        message = f"process {error.pid}: {message}"
    kind = _EXCEPTIONS.get(error.code, NativeError)
    if error.sys_errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        kind = OutOfSpaceError
    return kind(message, error.code, error.sys_errno, error.pid, error.address)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write ``path``, here or in the native library, into one sentence.

    :raises StorageError: for a full, read-only, forbidden or failing file system
    """
    with storage_errors(path):
        try:
            yield
        except OutOfSpaceError as error:
            raise OSError(error.errno, os.strerror(error.errno)) from error


def check(code: int, error: Any) -> None:
    """Raise the exception for ``code``, unless it is TM_OK.

    :raises NativeError: or the subclass that the code stands for
    """
    if code != lib.TM_OK:
        raise error_from(error)
