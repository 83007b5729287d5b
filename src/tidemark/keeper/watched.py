"""What the keeper tells its watchdog: that it looks who waits for it, and whether all stands.

See native/watchdog.c. Without one nothing is told.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import tidemark
from tidemark.errors import KeeperError

if TYPE_CHECKING:
    from tidemark.keeper.loop import Loop

VARIABLE = "TIDEMARK_WATCHDOG"
"""Names two descriptors: of a page that the watchdog reads, and of an eventfd that it writes."""

_NUMBER = struct.Struct("<Q")
_LOOKED, _STANDING = 0, _NUMBER.size  # struct tm_watched of native/watchdog.h


class Watched:
    """A process that a watchdog watches, if there is one."""

    def __init__(self) -> None:
        self._page: mmap.mmap | None = None
        self._bell = -1
        self._looked = 0
        self._freezes = 0
        named = os.environ.pop(VARIABLE, "")
        if named:
            page, self._bell = map(int, named.split(","))
            os.set_inheritable(self._bell, False)
            self._page = mmap.mmap(page, _NUMBER.size * 2)
            os.close(page)

    def listen(self, loop: Loop) -> None:
        """Hear the bell: whoever hears it has looked."""
        if self._bell >= 0:
            loop.add(self._bell, self._hear)

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._bell, _NUMBER.size)

    def looked(self) -> None:
        """Tell that nobody waits for the keeper."""
        self._looked += 1
        self._put(_LOOKED, self._looked)

    def stands(self, *, frozen: bool) -> None:
        """Tell whether the workload stands, from now on."""
        self._freezes += frozen
        self._put(_STANDING, self._freezes if frozen else 0)

    def _put(self, where: int, number: int) -> None:
        if self._page is not None:
            _NUMBER.pack_into(self._page, where, number)


def watchdog() -> str:
    """Return the path of the program that runs a keeper and watches it.

    :raises KeeperError: when it is not installed
    """
    for directory in tidemark.__path__:
        path = Path(directory, "tidemark-watchdog")
        if path.exists():
            return str(path)
    raise KeeperError("the program tidemark-watchdog is not installed; install the package again")
