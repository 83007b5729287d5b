"""Holding a directory against others, on any file system that nodes share.

The lock is the kernel's where the file system has one: it is gone with its holder. Linux's NFS
client makes a lock of the server's of flock(2), provided that the file is open for writing. A
file system without locks has links at least, which are made once or not at all; such a lock can
outlive its holder, and is taken over where that was on this machine.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import platform
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from tidemark import proc
from tidemark.errors import BusyError
from tidemark.files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME = ".lock"
_WITHOUT = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}
"""What flock(2) says where the file system has no locks: NFS without lockd, Lustre without flock"""


class Held(Exception):  # noqa: N818 - no error, but an answer
    """Somebody holds it; the message names him, and what to do if he is gone."""


class Lock:
    """A directory that is held until :meth:`release`, or the end of this process.

    :raises Held: when another process holds it
    :raises StorageError: when the directory cannot be written
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._claim: Path | None = None
        with storage_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o644)
            try:
                self._take()
            except BaseException:
                os.close(self._descriptor)
                raise

    def _take(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 256, 0).decode(errors="replace").split("\n")[0]
            raise Held(holder or "an unknown process") from None
        except OSError as error:
            if error.errno not in _WITHOUT:
                raise
            self._claim = claim(self._path.with_name(f"{NAME}.holder"))
            atexit.register(self.release)
            return
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{_us()}\n".encode(), 0)

    def release(self) -> None:
        """Hold it no more."""
        if self._claim is not None:
            self._claim.unlink(missing_ok=True)
            self._claim = None
            atexit.unregister(self.release)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def held(directory: Path, busy: Callable[[str], str]) -> Lock:
    """Return the lock of a directory; ``busy`` makes an error's message of who has it.

    :raises BusyError: when another process has it
    :raises StorageError: when the directory cannot be written
    """
    try:
        return Lock(directory)
    except Held as other:
        raise BusyError(busy(str(other))) from None


def claim(path: Path) -> Path:
    """Make ``path``, a file that names us, unless it is there: by link(2), which NFS has, too.

    :raises Held: when another process has made it that may still run
    """
    own = path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}")
    own.write_text(f"{_us()}\n{os.getpid()} {proc.start_time(os.getpid())} {platform.node()}\n")
    try:
        with _alone_here(path):
            while True:
                try:
                    os.link(own, path)
                except FileExistsError:
                    _bury(path)
                else:
                    return path
    finally:
        own.unlink()


@contextmanager
def _alone_here(path: Path) -> Iterator[None]:
    """Keep others of this machine from burying what we have just made: by a name in the kernel."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mutex:
        status = path.parent.stat()
        name = f"\0tidemark {status.st_dev} {status.st_ino}"
        while True:
            try:
                mutex.bind(name)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                time.sleep(0.01)
            else:
                break
        yield


def _bury(path: Path) -> None:
    """Remove a claim whose maker has ended.

    :raises Held: where he has not, or is of another machine
    """
    try:
        who, what = path.read_text().splitlines()
        pid, started, node = what.split()
    except FileNotFoundError:
        return
    except ValueError:
        who, pid, started, node = "an unknown process", "0", "0", ""
    if node != platform.node():
        raise Held(f"{who}; if that is gone, remove {path}")
    if proc.is_running(int(pid), int(started)):
        raise Held(who)
    path.unlink(missing_ok=True)


def _us() -> str:
    job = os.environ.get("SLURM_JOB_ID")
    return f"process {os.getpid()} on {platform.node()}" + (f", batch job {job}" if job else "")
