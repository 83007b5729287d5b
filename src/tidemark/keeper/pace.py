"""How long the workload waits for the keeper while it runs.

A process that is born or ends, or changes its mappings, waits until the keeper has looked. So the
keeper looks all the time, also in the middle of what it does. What is measured is the longest time
from a moment in which nobody waited, as was seen, to the moment in which all who were found to
wait had been let go: nobody has waited longer, but for how long a keeper that has nothing to do
waits for a processor.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidemark.keeper.watched import Watched

_SECONDS = 0.001
"""So often it is looked who waits, in the middle of what takes longer."""


class Pace:
    """Measures waits, and hands on to the watchdog that the keeper has looked."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._nobody_at = time.monotonic()
        self._longest = 0.0

    def looked(self, *, found: bool) -> None:
        """Learn that all who waited have been let go, and whether there was ``found`` one."""
        now = time.monotonic()
        if found:
            self._longest = max(self._longest, now - self._nobody_at)
        self._nobody_at = now
        self._watched.looked()

    def is_due(self) -> bool:
        """Return whether it is time to look again."""
        return time.monotonic() - self._nobody_at > _SECONDS

    def stands(self, *, frozen: bool) -> None:
        """Learn that all threads are going to stand, or that they have been let go."""
        self._watched.stands(frozen=frozen)

    def take(self) -> float:
        """Return the longest wait in seconds since this was asked last."""
        longest, self._longest = self._longest, 0.0
        return longest
