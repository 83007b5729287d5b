"""Waiting for what comes from outside: signals, the owner's end, sockets, time."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import selectors
import signal
import time
from typing import TYPE_CHECKING

from tidemark.errors import KeeperError
from tidemark.keeper.mishaps import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidemark.keeper.pace import Pace

log = logging.getLogger(__name__)

_MOST_FAILURES = 1000
_PAUSE = 0.01
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Ended(BaseException):
    """The keeper is to end, and why: its owner has gone, say, or a signal said so.

    Like KeyboardInterrupt it is no Exception, so that nothing on the way takes it for one.
    """


class Loop:
    """One selector for all descriptors; ends of children arrive as SIGCHLD on a pipe.

    :param owner: the pid of the process with which the keeper is to end; None for no one
    :param children: called after SIGCHLD; returns whether it has let anybody go
    :param wake_after: after how many seconds ``children`` is to be called without one
    :param heeds_signals: whether SIGTERM, SIGINT and SIGHUP end the keeper, too
    :param pace: learns when all who waited for the keeper have been let go
    :raises KeeperError: when the owner has gone already
    """

    def __init__(
        self,
        owner: int | None,
        children: Callable[[], bool],
        wake_after: Callable[[], float] = lambda: math.inf,
        *,
        heeds_signals: bool = True,
        pace: Pace,
    ) -> None:
        self._pace = pace
        self._failures = 0  # one after the other
        self._urgent = selectors.DefaultSelector()
        self._selector = selectors.DefaultSelector()
        self._children = children
        self._wake_after = wake_after
        self._ending = _ENDING if heeds_signals else ()
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_in, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, *_ENDING):
            signal.signal(number, _noted)
        self.add_urgent(self._wake_out, self._on_signals)
        if owner is not None:
            try:
                self.add(os.pidfd_open(owner), lambda: _on_owner_gone(owner))
            except ProcessLookupError:
                raise KeeperError(f"the owner, process {owner}, has gone already") from None

    def add(self, descriptor: int, ready: Callable[[], object], *, writable: bool = False) -> None:
        """Call ``ready`` from :meth:`wait` whenever ``descriptor`` can be read, or written."""
        event = selectors.EVENT_WRITE if writable else selectors.EVENT_READ
        self._selector.register(descriptor, event, ready)

    def add_urgent(self, descriptor: int, ready: Callable[[], bool]) -> None:
        """Call ``ready`` first of all; it returns whether it has let go anybody who waited."""
        self.add(descriptor, ready)
        self._urgent.register(descriptor, selectors.EVENT_READ, ready)

    def remove(self, descriptor: int) -> None:
        """Look at ``descriptor`` no more."""
        self._selector.unregister(descriptor)
        if descriptor in self._urgent.get_map():
            self._urgent.unregister(descriptor)

    def wait(self, seconds: float | None = None) -> bool:
        """Handle what comes, for at most ``seconds``; return whether anything came.

        :raises Ended: when the keeper is to end
        """
        ready, due = self._select(self._selector, seconds)
        found = due and self._call(self._children)
        urgent = self._urgent.get_map()
        ready.sort(key=lambda key: key.fd not in urgent)
        for key in ready:
            # What was removed by an earlier one of this round is not to be called any more.
            if self._selector.get_map().get(key.fd) is not key:
                continue
            if key.fd in urgent:
                found |= self._call(key.data)
                continue
            self._pace.looked(found=found)
            found = False
            self._call(key.data)
        self._pace.looked(found=found)
        return bool(ready) or due

    def serve(self, seconds: float = 0.0) -> None:
        """Let go who waits, in the middle of something else; clients go on waiting.

        :param seconds: for so long, or until somebody was let go
        :raises Ended: when the keeper is to end
        """
        ready, due = self._select(self._urgent, seconds)
        found = due and self._call(self._children)
        for key in ready:
            found |= self._call(key.data)
        self._pace.looked(found=found)

    def _call(self, ready: Callable[[], object]) -> bool:
        """Call what handles something; return what it returns, as far as it is true.

        What it fails of is logged, and it is called again if that is still there: the workload
        depends on us.

        :raises Ended: when the keeper is to end, also as nothing can be handled any more
        """
        try:
            found = bool(ready())
        except Exception as error:
            self._fail("what came was not handled", error)
            return False
        self._failures = 0
        return found

    def _fail(self, what: str, error: Exception) -> None:
        """Log a failure, after which all goes on.

        :raises Ended: when nothing has succeeded for long
        """
        self._failures += 1
        log.warning("%s", what, exc_info=error)
        if self._failures > _MOST_FAILURES:
            raise Ended(f"nothing can be handled any more: {describe(error)}") from error
        time.sleep(_PAUSE)

    def _select(
        self, selector: selectors.BaseSelector, seconds: float | None
    ) -> tuple[list[selectors.SelectorKey], bool]:
        """Return what can be handled, and whether ``children`` is to be called all the same."""
        due = self._wake_after()
        limit = min(math.inf if seconds is None else seconds, due)
        ready = self._ready(selector, 0)
        if not ready and limit > 0:
            self._pace.looked(found=False)  # who comes from now on is seen at once
            ready = self._ready(selector, None if limit == math.inf else limit)
            self._pace.looked(found=False)
        return ready, due < math.inf

    def _ready(
        self, selector: selectors.BaseSelector, seconds: float | None
    ) -> list[selectors.SelectorKey]:
        """Wait for what can be handled; return none where the kernel does not tell.

        :raises Ended: when it has not told for long
        """
        try:
            return [key for key, _ in selector.select(seconds)]
        except OSError as error:
            self._fail("it cannot be told what has come", error)
            return []

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

    def _on_signals(self) -> bool:
        numbers = b""
        with contextlib.suppress(BlockingIOError):
            numbers = os.read(self._wake_out, 4096)
        found = signal.SIGCHLD in numbers and self._call(self._children)
        for number in self._ending:
            if number in numbers:
                raise Ended(f"it was told to end by {number.name}")
        return found


def _noted(*_: object) -> None:
    """Let a signal wake the loop and do nothing else."""


def _on_owner_gone(owner: int) -> None:
    raise Ended(f"its owner, process {owner}, has ended")
