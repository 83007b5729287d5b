"""Waiting for what comes from outside: signals, the owner's end, sockets, time."""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import time
from typing import TYPE_CHECKING

from tidemark.errors import KeeperError

if TYPE_CHECKING:
    from collections.abc import Callable

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Ended(BaseException):
    """The keeper is to end: its owner has gone, or a signal said so.

    Like KeyboardInterrupt it is no Exception, so that nothing on the way takes it for one.
    """


class Loop:
    """One selector for all descriptors; ends of children arrive as SIGCHLD on a pipe.

    :param owner: the pid of the process with which the keeper is to end; None for no one
    :param children: called after SIGCHLD
    :param wake_after: after how many seconds ``children`` is to be called without one
    :param heeds_signals: whether SIGTERM, SIGINT and SIGHUP end the keeper, too
    :raises KeeperError: when the owner has gone already
    """

    def __init__(
        self,
        owner: int | None,
        children: Callable[[], object],
        wake_after: Callable[[], float] = lambda: math.inf,
        *,
        heeds_signals: bool = True,
    ) -> None:
        self._selector = selectors.DefaultSelector()
        self._children = children
        self._wake_after = wake_after
        self._ending = _ENDING if heeds_signals else ()
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_in, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, *_ENDING):
            signal.signal(number, _noted)
        self.add(self._wake_out, self._on_signals)
        if owner is not None:
            try:
                self.add(os.pidfd_open(owner), _on_owner_gone)
            except ProcessLookupError:
                raise KeeperError(f"the owner, process {owner}, has gone already") from None

    def add(self, descriptor: int, ready: Callable[[], object]) -> None:
        """Call ``ready`` from :meth:`wait` whenever ``descriptor`` can be read."""
        self._selector.register(descriptor, selectors.EVENT_READ, ready)

    def remove(self, descriptor: int) -> None:
        """Look at ``descriptor`` no more."""
        self._selector.unregister(descriptor)

    def wait(self, seconds: float | None = None) -> bool:
        """Handle what comes, for at most ``seconds``; return whether anything came.

        :raises Ended: when the keeper is to end
        """
        due = self._wake_after()
        limit = min(math.inf if seconds is None else seconds, due)
        ready = self._selector.select(None if limit == math.inf else limit)
        if due < math.inf:
            self._children()
        for key, _ in ready:
            # What was removed by an earlier one of this round is not to be called any more.
            if key.fd in self._selector.get_map():
                key.data()
        return bool(ready) or due < math.inf

    def wait_until(
        self,
        done: Callable[[], bool],
        seconds: float,
        wake_after: Callable[[], float] = lambda: math.inf,
    ) -> bool:
        """Handle what comes until ``done()``; False when that takes longer than ``seconds``.

        :param wake_after: after how many seconds ``done`` may change without any event
        :raises Ended: when the keeper is to end
        """
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.wait(min(left, wake_after()))
        return True

    def _on_signals(self) -> None:
        numbers = b""
        with contextlib.suppress(BlockingIOError):
            numbers = os.read(self._wake_out, 4096)
        if signal.SIGCHLD in numbers:
            self._children()
        if any(number in numbers for number in self._ending):
            raise Ended


def _noted(*_: object) -> None:
    """Let a signal wake the loop and do nothing else."""


def _on_owner_gone() -> None:
    raise Ended
