"""Files of dumps that are removed, kept to be written over by the next.

To write over pages that a file system in memory holds takes less than half the time of making new
ones, and on a disk the blocks are there. What is written over belongs to no dump any more, and
nobody reads it: a name of its own leads to it, and no other, and nobody has it open.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from tidemark.directories import PRIVATE, directory_mode, make_directory, set_mode
from tidemark.image.names import PAGES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MOST_AMISS = 2
"""How many times longer, or shorter, than what is to be written a spare may be."""


class Spares:
    """The spares in ``directory``, which is made when there are some. One user at a time."""

    def __init__(self, directory: Path, mode: int = PRIVATE) -> None:
        self._directory = directory
        self._mode = mode

    def clear(self) -> None:
        """Give back what was not used."""
        shutil.rmtree(self._directory, ignore_errors=True)

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Give back, when the block ends, what was there before and was not used in it."""
        before = list(self._directory.glob("*"))
        yield
        for path in before:
            path.unlink(missing_ok=True)

    def collect(self, image: Path) -> None:
        """Take the content of a dump that is to be removed, as far as nobody else uses it."""
        with suppress(OSError):  # then it is removed with all the rest
            make_directory(self._directory, directory_mode(self._mode))
            for path in image.glob(PAGES):
                descriptor = _open_alone(path)
                if descriptor is not None:
                    os.close(descriptor)
                    path.rename(self._directory / f"{path.stat().st_ino}.img")

    def take(self, target: Path, size: int) -> BinaryIO | None:
        """Give a spare the name ``target`` and open it, to write ``size`` bytes from its start.

        It is no longer than that. None when there is none of about that size.
        """
        with suppress(OSError):
            found = [(path.stat().st_size, path) for path in self._directory.iterdir()]
            for held, path in sorted(found, key=lambda spare: abs(spare[0] - size)):
                if held > size * _MOST_AMISS or size > held * _MOST_AMISS:
                    continue
                descriptor = _open_alone(path)
                if descriptor is not None:
                    file = os.fdopen(descriptor, "r+b")
                    set_mode(descriptor, self._mode)
                    os.ftruncate(descriptor, min(held, size))
                    path.rename(target)
                    return file
        return None


def _open_alone(path: Path) -> int | None:
    """Return a descriptor of a file that has one name, and that nobody has open; None of others.

    The kernel gives a lease only of a file that nobody else has open.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if _is_alone(descriptor):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _is_alone(descriptor: int) -> bool:
    status = os.fstat(descriptor)
    if status.st_nlink != 1 or not stat.S_ISREG(status.st_mode):
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # SIGIO would end us
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True
