"""Holding a directory of ours against others, on any file system that nodes share.

The lock is the kernel's, on a file that only this user can open: it is gone with its holder, and
no stranger can hold it. Linux's NFS client makes a lock of the server's of flock(2), provided that
the file is open for writing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from tidemark.directories import set_mode
from tidemark.errors import BusyError, StorageError
from tidemark.files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidemark.owned import OwnDirectory

NAME = "lock"
_WITHOUT = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}
"""What flock(2) says where the file system has no locks: NFS without lockd, Lustre without flock"""


class Held(Exception):  # noqa: N818 - no error, but an answer
    """Somebody holds it; the message names him."""


class Lock:
    """A directory that is held until :meth:`release`, or the end of this process.

    :raises Held: when another process holds it
    :raises StorageError: when it cannot be held: its file system has no locks, or no space
    """

    def __init__(self, directory: OwnDirectory) -> None:
        self._directory = directory
        with storage_errors(directory.path):
            self._descriptor = self._open()
            try:
                self._take()
            except BaseException:
                os.close(self._descriptor)
                raise

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        mode = self._directory.mode & 0o660
        descriptor = os.open(NAME, flags, mode, dir_fd=self._directory.private)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not self._directory.trusts(status):
            os.close(descriptor)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if status.st_uid == os.geteuid():
            set_mode(descriptor, mode)
        return descriptor

    def _take(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 256, 0).decode(errors="replace").split("\n")[0]
            raise Held(holder or "an unknown process") from None
        except OSError as error:
            if error.errno not in _WITHOUT:
                raise
            raise StorageError(
                f"{self._directory.path} is on a file system without locks (flock: "
                f"{error.strerror}), so that two could write there at once; mount it with locks, "
                "or use another directory"
            ) from None
        with suppress(OSError):  # on a full disk nobody learns who holds it
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{_us()}\n".encode(), 0)

    def release(self) -> None:
        """Hold it no more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def held(directory: OwnDirectory, busy: Callable[[str], str]) -> Lock:
    """Return the lock of a directory; ``busy`` makes an error's message of who has it.

    :raises BusyError: when another process has it
    :raises StorageError: when it cannot be held
    """
    try:
        return Lock(directory)
    except Held as other:
        raise BusyError(busy(str(other))) from None


def _us() -> str:
    job = os.environ.get("SLURM_JOB_ID")
    return f"process {os.getpid()} on {platform.node()}" + (f", batch job {job}" if job else "")
