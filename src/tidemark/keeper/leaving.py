"""The last threads of processes: held at their end until nobody else can write their memory.

A thread that ends stores to memory once more after the stop at which it is seen last: the kernel
clears its id where it was asked to (clear_child_tid), and marks the robust locks that it holds,
both in mm_release(). So the threads that were let go before must have given up their memory
before the process is looked at for the last time.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

from tidemark import proc
from tidemark.native.library import NativeError, ProcessGoneError
from tidemark.native.process import same_space

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
        """Return after how many seconds :meth:`judge` is to be asked; infinity for never."""
        return _POLL_SECONDS if self._since else math.inf

    def judge(self, threads: Mapping[int, Thread]) -> list[tuple[Thread, Wait]]:
        """Return the threads that need not wait any more, and forget them.

        :param threads: all threads of the tree that have not ended
        """
        if not self._since:
            return []
        done = []
        for thread, since in list(self._since.items()):
            if threads.get(thread.tid) is not thread:
                del self._since[thread]  # it has ended, by a second signal
            elif wait := _judge(thread, time.monotonic() - since, threads):
                del self._since[thread]
                done.append((thread, wait))
        return done


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
    """Yield the threads that have the memory of ``last`` and may store to it.

    Those of other processes are on their end, too: while one lives, the memory lives on in it.
    """
    for tid in _tasks(last):
        if proc.has_memory(tid) and not proc.is_worker(tid):
            yield tid
    for thread in threads.values():
        elsewhere = thread.leaves and thread.process is not last.process
        if elsewhere and proc.has_memory(thread.tid) and _share(thread.tid, last.tid):
            yield thread.tid


def _tasks(last: Thread) -> list[int]:
    return [tid for tid in proc.thread_ids(last.process.pid) if tid != last.tid]


def _share(tid: int, other: int) -> bool:
    try:
        return same_space(tid, other)
    except ProcessGoneError:
        return False
    except NativeError:
        return True  # the kernel cannot compare (kcmp)
