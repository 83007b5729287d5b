"""Handing on what happens to a tree, so that a failure to follow it ends nothing.

A process can map what we do not support, have no room for a descriptor of ours, or be gone in the
middle; and we can lack memory or descriptors ourselves. What it may have written unseen is then
suspect, and its memory is looked at anew when it next stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemark.keeper.mishaps import reason_of
from tidemark.native.library import ProcessGoneError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidemark.keeper.mishaps import Mishaps
    from tidemark.keeper.tracking import Tracking
    from tidemark.keeper.tree import Process, Thread


class Careful:
    """The observer of a tree that hands on to ``tracking`` and does not fail."""

    def __init__(self, tracking: Tracking, mishaps: Mishaps) -> None:
        self._tracking = tracking
        self._mishaps = mishaps

    def born(self, process: Process, thread: Thread) -> None:
        """Look at a new process; ``thread`` stands before its first instruction.

        :raises ProcessGoneError: when it was killed meanwhile
        """
        try:
            self._tracking.born(process, thread)
        except ProcessGoneError:
            raise
        except Exception as error:
            self._distrust(process, "was born untracked", error)

    def leaving(self, thread: Thread) -> None:
        """Look at a thread that is about to end."""
        self._hand_on(
            lambda: self._tracking.leaving(thread), thread.process, "lost a thread unseen"
        )

    def found(self, process: Process) -> None:
        """Look at a process that was not followed from its birth on; it need not stand yet."""
        self._hand_on(lambda: self._tracking.found(process), process, "was found, and not known")

    def unfollowed(self, reason: str) -> None:
        """Learn that somebody ran who was not followed, and could write what others map."""
        self._tracking.unfollowed(reason)

    def exiting(self, process: Process, *, alone: bool) -> None:
        """Look at a process whose last thread is about to end; its memory still stands."""
        self._hand_on(lambda: self._tracking.exiting(process, alone=alone), process, "ended unseen")

    def executed(self, process: Process) -> None:
        """Learn that a process runs a new program; its former memory is gone."""
        self._hand_on(
            lambda: self._tracking.executed(process), process, "executed a program unseen"
        )

    def ended(self, process: Process) -> None:
        """Learn that a process is gone; it need not have stood before."""
        self._hand_on(lambda: self._tracking.ended(process), process, "ended unseen")

    def guards(self, process: Process) -> None:
        """Let a process guard memory of its own, which it cannot while that is under a tracker."""
        self._hand_on(lambda: self._tracking.guards(process), process, "guards memory")

    def attend(self) -> bool:
        """Let go of threads that wait for the observer and cannot stop before, if there are any."""
        return self._tracking.attend()

    def missed(self, what: str, error: BaseException) -> None:
        """Learn that an event of the tree could not be handled."""
        self._mishaps.note(what, error)
        self._tracking.unfollowed(reason_of(error))

    def _hand_on(self, deed: Callable[[], object], process: Process, what: str) -> None:
        try:
            deed()
        except Exception as error:
            self._distrust(process, what, error)

    def _distrust(self, process: Process, what: str, error: BaseException) -> None:
        self._mishaps.note(f"process {process.pid} ({process.command}) {what}", error)
        self._tracking.distrust(process, reason_of(error))
