"""Which processes a workload has made that ptrace has not told of.

A child that is made with CLONE_UNTRACED escapes ptrace, and so does all that it makes. The
kernel's own reports of births name the maker of each process on the machine. They are counted
here against the births that ptrace has told of. The two come by different ways, in no order: so
nothing is decided before all that is known of the workload is frozen. Then each birth within it
has been reported.
"""

from __future__ import annotations

import select
from collections import Counter
from typing import TYPE_CHECKING

from tidemark.native.library import NativeError
from tidemark.native.tasks import BirthReports

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tidemark.native.tasks import Birth

_MANY = 20_000
"""So many reports are looked at while the workload runs, not all of them when it is frozen."""


class Births:
    """Counts the births within a workload.

    ``lacking`` says why the kernel does not report them; None where it does.
    """

    def __init__(self) -> None:
        self.lacking: str | None = None
        self._reports: BirthReports | None = None
        self._waiting: list[Birth] = []  # reported, not looked at yet
        self._newest = 0  # the time of the last one
        self._ours: set[int] = set()  # who makes processes of the workload
        self._born: Counter[int] = Counter()  # by pid: of the workload, as reported
        self._followed: Counter[int] = Counter()  # by pid: as ptrace has told
        self._lost = False
        self._poll = select.epoll()
        self._open()

    def _open(self) -> None:
        try:
            self._reports = BirthReports()
            self._poll.register(self._reports.fileno(), select.EPOLLIN)
        except NativeError as error:
            self.lacking = str(error)

    def close(self) -> None:
        """Be told no more."""
        if self._reports is not None:
            self._poll.unregister(self._reports.fileno())
            self._reports.close()
            self._reports = None

    def fail(self, why: str) -> None:
        """Be told no more, for a reason."""
        self.close()
        self.lacking = why

    def fileno(self) -> int:
        """Return a descriptor that can be read when it is time to :meth:`hear`."""
        return self._poll.fileno()

    def follows(self, pid: int) -> None:
        """Note that ptrace has told of the birth of a process."""
        self._followed[pid] += 1

    def hear(self) -> None:
        """Take what has been reported, so that none is lost."""
        before = self._take()
        if len(self._waiting) > _MANY:
            self._count(before)

    def _take(self) -> int:
        """Take what has been reported; return the time of the newest report before.

        The processors are asked one after the other: what a new process does may be read before
        its own birth, which is then in the next reading.
        """
        before = self._newest
        if self._reports is not None:
            births, lost = self._reports.read()
            self._lost = self._lost or lost
            self._waiting += births
            self._newest = max(before, *(birth.time for birth in births), 0)
        return before

    def _count(self, until: int) -> None:
        """Count the births within the workload that were reported up to a time.

        A process id is of the workload from such a birth on until another's: it may be used again.
        """
        self._waiting.sort()
        for birth in self._waiting:
            if birth.time > until:
                break
            if birth.maker in self._ours:
                self._ours.add(birth.child)
                self._born[birth.child] += 1
            else:
                self._ours.discard(birth.child)
        self._waiting = [birth for birth in self._waiting if birth.time > until]

    def unfollowed(self) -> set[int]:
        """Return the processes that the workload has made and ptrace has not told of.

        All that is known of the workload is frozen. Some of them may have ended.
        """
        self._take()
        self._count(self._take())
        return {pid for pid, count in self._born.items() if count > self._followed[pid]}

    def is_ours(self, pid: int) -> bool:
        """Return whether a process is of the workload, as far as :meth:`unfollowed` has found."""
        return pid in self._ours

    def begin(self, pids: Iterable[int]) -> bool:
        """Begin anew with the processes ``pids``; return whether reports were lost before."""
        lost, self._lost = self._lost, False
        self._ours = set(pids)
        self._waiting.clear()
        self._born.clear()
        self._followed.clear()
        if lost:
            self.close()  # there may be other processors now
            self._open()
        return lost
