"""Waiting until all threads of a tree stand, so that none stands for long because of another.

A thread may be unable to stop before another thread of the tree has done something for it: served
its page fault (userfaultfd(2)), or its file (fuse(4)). When that one was stopped first, both would
wait for ever. So whoever stands is let run while one that does not stop is waited for, and only
the latter stays where it stops. It is the same with one that waits for a slow device: meanwhile
nobody else stands.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from tidemark import proc
from tidemark.errors import AttachError

if TYPE_CHECKING:
    from tidemark.keeper.tree import Tree

FREEZE_SECONDS = 10.0
"""How long a freeze waits for a thread that is deep in the kernel."""

LEAVE_SECONDS = 0.5
"""How long it waits who only wants to let them go: the kernel does so at the keeper's end."""

STUCK_SECONDS = 0.02
"""After so long a freeze looks for a reason why a thread does not stop."""

_YIELD_SECONDS = 0.25
"""For so long those that were late already stay where they stand; one may be waited for, too."""


class Budget:
    """For how long a tree may stand, in seconds; None for as long as it takes."""

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._spent = 0.0
        self._since: float | None = None

    def begin(self) -> None:
        """Count from now on."""
        if self._since is None:
            self._since = time.monotonic()

    def pause(self) -> None:
        """Count no more: nobody stands but who does not do so at our wish."""
        if self._since is not None:
            self._spent += time.monotonic() - self._since
            self._since = None

    def end(self) -> None:
        """Allow as long as it takes, from now on."""
        self.seconds = None

    def check(self) -> None:
        """Do nothing, while there is time left.

        :raises AttachError: when there is none
        """
        running = time.monotonic() - self._since if self._since is not None else 0.0
        if self.seconds is not None and self._spent + running > self.seconds:
            raise AttachError(
                f"to attach would take longer than the {self.seconds:g} s for which the processes "
                "may stand; nothing was changed: try again when the machine is idle, or allow more "
                "(`--stand`, or `stand` in the config)"
            )


def wait_until_frozen(tree: Tree, budget: Budget, seconds: float = FREEZE_SECONDS) -> None:
    """Handle events until every thread of ``tree`` stands, who were all told to.

    :param seconds: how long that may take, the time included for which they run meanwhile
    :raises AttachError: when one does not stop, or the budget is spent
    """
    deadline = time.monotonic() + seconds
    patience = time.monotonic() + STUCK_SECONDS
    pause = 0.0
    budget.begin()
    while moving := tree.moving():
        if tree.serve():
            pause = 0.0
            continue
        _check_time(moving, deadline)
        if time.monotonic() > patience:
            tree.look_at_stuck()
            _wait_for_late(tree, budget, deadline)
            patience = time.monotonic() + STUCK_SECONDS
        budget.check()
        # A thread stops within microseconds, unless it is deep in the kernel.
        time.sleep(pause)
        pause = min(pause + 0.00005, 0.01)
    tree.late.clear()


def _check_time(moving: list[int], deadline: float) -> None:
    if time.monotonic() > deadline:
        raise AttachError(_unstoppable(moving))


def _wait_for_late(tree: Tree, budget: Budget, deadline: float) -> None:
    """Let all run but those that are late, until these stand; then have all stop again."""
    waited_for = set(tree.moving())
    if not waited_for:
        return
    tree.late |= waited_for
    tree.let_run_but_late()
    budget.pause()
    yielding = time.monotonic() + _YIELD_SECONDS
    while not waited_for.isdisjoint(moving := tree.moving()):
        if not tree.serve():
            time.sleep(0.001)
        if time.monotonic() > yielding:
            tree.late = waited_for.intersection(moving)
            tree.let_run_but_late()
            yielding = math.inf
        _check_time(sorted(waited_for.intersection(moving)), deadline)
    budget.begin()
    tree.interrupt_all()


def _unstoppable(tids: list[int]) -> str:
    described = ", ".join(f"{tid} ({proc.state_of(tid) or 'gone'})" for tid in tids[:5])
    return (
        f"these threads did not stop within {FREEZE_SECONDS:.0f} s: {described}; "
        "one in state D waits for a device: try again when it is idle"
    )
