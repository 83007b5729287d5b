"""Doing what takes its time beside the loop, so that nobody who waits for the keeper waits for it.

It is done by another thread. So it may be what the native library and the kernel do with the
keeper's own memory, and reading of /proc; it must neither trace nor change what a notice or an
event of the tree can change.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidemark.keeper.loop import Loop

Result = TypeVar("Result")

_LONGEST = 1.0


class Aside:
    """A thread beside the one that waits in ``loop``."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._done = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._pool = ThreadPoolExecutor(1, "aside")
        loop.add_urgent(self._done, self._on_done)

    def __call__(self, deed: Callable[[], Result]) -> Result:
        """Return what ``deed`` returns; who waits for the keeper is let go meanwhile.

        :raises Ended: when the keeper is to end; the deed is done by then
        """
        future = self._pool.submit(deed)
        future.add_done_callback(lambda _: os.eventfd_write(self._done, 1))
        try:
            while not future.done():
                self._loop.serve(_LONGEST)
        finally:
            wait([future])  # it may use what is closed next
        return future.result()

    def _on_done(self) -> bool:
        os.eventfd_read(self._done)
        return False
