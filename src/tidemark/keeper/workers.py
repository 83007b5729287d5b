"""Threads for what the kernel does for each process on its own."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


class Workers:
    """As many threads as there are processors for us; none before they are of use."""

    def __init__(self) -> None:
        self._count = len(os.sched_getaffinity(0))
        self._pool: ThreadPoolExecutor | None = None

    def do_all(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Return what each of the calls returns, in order, when the last one has ended.

        All have ended also when it raises what one of them raised.
        """
        if min(self._count, len(calls)) < 2:
            return [call() for call in calls]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._count)
        shares = [calls[first :: self._count] for first in range(self._count)]
        futures = [self._pool.submit(_do, share) for share in shares if share]
        wait(futures)
        done = [future.result() for future in futures]
        return [done[index % self._count][index // self._count] for index in range(len(calls))]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _do(calls: Sequence[Callable[[], T]]) -> list[T]:
    return [call() for call in calls]
