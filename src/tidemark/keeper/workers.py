"""Threads for what the kernel does for each process on its own."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")


class Workers:
    """As many threads as there are processors for us, this one included; no more until needed."""

    def __init__(self) -> None:
        self._count = len(os.sched_getaffinity(0))
        self._pool: ThreadPoolExecutor | None = None

    def do_all(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Return what each of the calls returns, in order, when the last one has ended.

        All have ended also when it raises what one of them raised. Each thread takes the next
        call that nobody has taken: this one has begun before another has woken up.
        """
        if min(self._count, len(calls)) < 2:
            return [call() for call in calls]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._count - 1, initializer=_take_no_signals)
        left = iter(range(len(calls)))
        done: dict[int, T] = {}
        helpers = [self._pool.submit(_do, calls, left, done) for _ in range(self._count - 1)]
        try:
            _do(calls, left, done)
        finally:
            wait(helpers)
        for helper in helpers:
            helper.result()
        return [done[index] for index in range(len(calls))]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _take_no_signals() -> None:
    """Leave the process's signals to the thread that waits for them."""
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())


def _do(calls: Sequence[Callable[[], T]], left: Iterator[int], done: dict[int, T]) -> None:
    for index in left:
        done[index] = calls[index]()
