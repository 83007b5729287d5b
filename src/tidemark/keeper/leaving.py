"""The last threads of processes: held at their end until nobody else can write their memory.

A thread that ends stores to memory once more after the stop at which it is seen last: the kernel
clears its id where it was asked to (clear_child_tid), and marks the robust locks that it holds,
both in mm_release(). The last one finds its id left alone, as nobody would see it; but a thread
counts for one that has the memory until it has given back its reference, which is later. So those
that were let go before must have ended before the process is looked at for the last time.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

from tidemark import proc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tidemark.keeper.tree import Thread

HOLD_SECONDS = 1.0
"""For how long a thread is held at most; what it waits for is in the kernel."""

UNSEEN_SECONDS = 0.02
"""After so long a thread that was never followed does not end with its process, but lives on."""

_POLL_SECONDS = 0.001
"""How often it is looked at who else is left: of the end of some threads nobody tells."""


class Wait(NamedTuple):
    """How the wait of a last thread has ended.

    ``alone`` is whether nobody else can write its memory; ``unseen`` are threads that live on.
    """

    alone: bool
    unseen: list[int]


class Lasts:
    """The last threads of processes that stand at their end, as PTRACE_EVENT_EXIT."""

    def __init__(self) -> None:
        self._since: dict[Thread, float] = {}

    def add(self, thread: Thread) -> None:
        """Hold a thread."""
        self._since[thread] = time.monotonic()

    def wake_after(self) -> float:
        """Return after how many seconds :meth:`next` is to be asked; infinity for never."""
        return _POLL_SECONDS if self._since else math.inf

    def give_up(self) -> list[Thread]:
        """Return all threads that are held, and forget them."""
        threads, self._since = list(self._since), {}
        return threads

    def next(self, threads: Mapping[int, Thread]) -> tuple[Thread, Wait] | None:
        """Return a thread that need not wait any more, and forget it; None when there is none.

        It has to be let go before the next is asked for, which may have to wait for it.

        :param threads: all threads of the tree that have not ended
        """
        for thread, since in list(self._since.items()):
            if threads.get(thread.tid) is not thread:
                del self._since[thread]  # it has ended, by a second signal
            elif wait := _judge(thread, time.monotonic() - since, threads):
                del self._since[thread]
                return thread, wait
        return None


def _judge(last: Thread, seconds: float, threads: Mapping[int, Thread]) -> Wait | None:
    """Return how the wait has ended that has gone on for some seconds; None when it has not."""
    if last.process.living() != [last]:
        return Wait(alone=False, unseen=[])  # a thread has come that was being born
    others = list(_others(last, threads))
    if not others:
        return Wait(alone=not any(map(proc.is_worker, _tasks(last))), unseen=[])
    unseen = [tid for tid in others if tid not in threads]
    if seconds > HOLD_SECONDS or (unseen and seconds > UNSEEN_SECONDS):
        return Wait(alone=False, unseen=unseen)
    return None


def _others(last: Thread, threads: Mapping[int, Thread]) -> Iterator[int]:
    """Yield the threads that have the memory of ``last``, or count as if they had.

    Those of other processes are at their end, too: while one lives, the memory lives on in it.
    """
    for tid in _tasks(last):
        if not proc.has_ended(tid) and not proc.is_worker(tid):
            yield tid
    for thread in threads.values():
        shares = thread.process.shares or last.process.shares
        elsewhere = thread.leaves and thread.process is not last.process
        if shares and elsewhere and not proc.has_ended(thread.tid):
            yield thread.tid


def _tasks(last: Thread) -> list[int]:
    return [tid for tid in proc.thread_ids(last.process.pid) if tid != last.tid]
