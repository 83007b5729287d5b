"""What the tracker tells while the workload runs: mappings moved or taken away, pages given back.

The thread that does so waits until we have been told.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidemark.keeper.mishaps import Mishaps
    from tidemark.keeper.spaces import AddressSpace


class Notices:
    """Waits for notices from address spaces."""

    def __init__(self, mishaps: Mishaps) -> None:
        self._mishaps = mishaps
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

    def attend(self) -> bool:
        """Hear all that there is, and so let go the threads that wait; whether there was any.

        Where a space cannot be heard any more, nobody may wait for that: it is given up.
        """
        if self._poll.closed:
            return False  # nothing is tracked any more
        found = self._poll.poll(0)
        for descriptor, _ in found:
            space = self._spaces.get(descriptor)
            try:
                if space is not None:
                    space.hear()
            except Exception as error:
                self._mishaps.note("what was done to mappings was not told", error)
                if space is not None:
                    space.fail(error)
        return bool(found)

    def close(self) -> None:
        """Listen to nobody."""
        self._poll.close()
