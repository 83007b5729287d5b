"""What the tracker tells while the workload runs: mappings moved or taken away, pages given back.

The thread that does so waits until we have been told.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidemark.keeper.spaces import AddressSpace


class Notices:
    """Waits for notices from address spaces."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._spaces: dict[int, AddressSpace] = {}

    def fileno(self) -> int:
        """Return a descriptor that can be read when there is one; -1 after the end."""
        return -1 if self._poll.closed else self._poll.fileno()

    def add(self, descriptor: int, space: AddressSpace) -> None:
        """Listen to ``space``, whose notices come on ``descriptor``; on -1 there are none."""
        if descriptor >= 0:
            self._spaces[descriptor] = space
            self._poll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        """Listen no more, before ``descriptor`` is closed."""
        if self._spaces.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def attend(self) -> None:
        """Hear all that there is, and so let go the threads that wait."""
        if self._poll.closed:
            return  # nothing is tracked any more
        for descriptor, _ in self._poll.poll(0):
            self._spaces[descriptor].hear()

    def close(self) -> None:
        """Listen to nobody."""
        self._poll.close()
