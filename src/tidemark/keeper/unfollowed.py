"""Threads and processes of a workload that ptrace does not tell of: looked for, and taken in.

So are those that are made with CLONE_UNTRACED, and all that they make. A thread that does not
stand is no freeze: it is over when a search finds nothing new.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from tidemark import proc
from tidemark.errors import AttachError
from tidemark.keeper import suspicion
from tidemark.native.library import ForbiddenError, NativeError, TracedError
from tidemark.native.process import same_space
from tidemark.native.tasks import Task, unknown_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tidemark.keeper.births import Births
    from tidemark.keeper.tree import Observer, Tree

log = logging.getLogger(__name__)


class Unfollowed:
    """Takes in what runs of a workload unfollowed, when all that is known of it is frozen.

    :param births: what the kernel reports
    """

    def __init__(self, tree: Tree, births: Births, observer: Observer) -> None:
        self._tree = tree
        self._births = births
        self._observer = observer
        self._lists_children = proc.lists_children()
        self._reported: set[int] = set()  # births that ptrace has not told of, in this epoch
        self._refused: set[int] = set()  # who could not be seized, and why was said

    def take_in_all(self) -> None:
        """Seize and stop what a search finds, until it finds nothing new.

        :raises AttachError: when a thread cannot be stopped
        """
        taken = False
        while self._take_in_found():
            taken = True
            self._tree.settle()
        self._tell_observer(taken=taken)

    def _tell_observer(self, *, taken: bool) -> None:
        """Tell of those who ran unfollowed since this was done last, and begin anew."""
        processes = self._tree.processes
        unfollowed = self._reported
        if self._births.begin(processes):
            log.warning("reports of births were lost: all is compared by content once")
            self._observer.unfollowed(suspicion.UNFOLLOWED)
        elif unfollowed:
            ended = unfollowed.isdisjoint(processes)
            self._observer.unfollowed(suspicion.VANISHED if ended else suspicion.UNFOLLOWED)
        elif taken and self._births.lacking is not None:
            # What it has made, and has ended since, nobody has told of.
            self._observer.unfollowed(suspicion.UNFOLLOWED)

    def _take_in_found(self) -> bool:
        """Seize what a search finds; return whether there is somebody to wait for."""
        tasks = self._find()
        with_workers = {task.pid for task in tasks if task.worker}
        for process in self._tree.processes.values():
            process.workers = process.pid in with_workers
        taken = [self._take_in(task.pid, task.tid) for task in tasks if not task.worker]
        return any(taken)

    def _take_in(self, pid: int, tid: int) -> bool:
        """Seize a thread, which then stops; return whether it is to be waited for.

        :raises AttachError: when it may not be stopped, and so its process not be frozen
        """
        try:
            return self._tree.seize_thread(pid, tid)
        except (TracedError, ForbiddenError) as error:
            if proc.status_field(tid, "TracerPid") == str(os.getpid()):
                # It was born under trace, and who made it was killed before that was told.
                self._tree.expect(tid)
                return True
            if pid in self._tree.processes:
                self._tree.thaw()
                raise AttachError(f"{error}; end that tracer, and try again") from error
            self._refuse(pid, tid, error)
            return False

    def _refuse(self, pid: int, tid: int, error: NativeError) -> None:
        """Count a process for one of those outside of the workload who may write its memory."""
        self._observer.unfollowed(suspicion.FOREIGN)
        if tid not in self._refused:
            log.warning("process %d of the workload cannot be followed: %s", pid, error)
            self._refused.add(tid)

    # Searching

    def _find(self) -> list[Task]:
        """Return the threads of the workload that are not known, each once."""
        pids, known = self._tree.processes, self._tree.threads
        found = unknown_tasks(pids, known)
        self._reported = self._births.unfollowed()
        # An id that was reported may be used again by now.
        strangers = {*self._orphans(), *filter(self._births.is_ours, self._reported)}
        if not self._lists_children:
            strangers.update(self._children_of_all())
        strangers -= pids.keys()
        return list(
            dict.fromkeys([*found, *(unknown_tasks(strangers, known) if strangers else ())])
        )

    def _orphans(self) -> Iterator[int]:
        """Yield our own children that were the workload's: we are the parent of its orphans.

        Others are commands that we run beside it, and orphans of theirs: each has a session of its
        own. Reports of births tell them apart for certain.
        """
        pids = self._tree.processes
        children = [pid for pid in proc.children_of(os.getpid()) if pid not in pids]
        if children and self._births.lacking is None:
            yield from filter(self._births.is_ours, children)
        elif children:
            sessions = set(map(_session_of, pids))
            yield from (pid for pid in children if _session_of(pid) in sessions)

    def _children_of_all(self) -> list[int]:
        """Return the children of the processes, found among all that there are."""
        return [pid for pid in proc.process_ids() if proc.parent_of(pid) in self._tree.processes]


def waits_for_vfork(tid: int) -> bool:
    """Return whether a thread waits for a child that has its memory, and cannot stop before."""
    return proc.is_cloning(tid) and any(_share(child, tid) for child in proc.children_of(tid))


def _share(tid: int, other: int) -> bool:
    with suppress(NativeError):
        return same_space(tid, other)
    return False


def _session_of(pid: int) -> int:
    """Return the session of a process; that of no process when it is gone."""
    with suppress(ProcessLookupError):
        return os.getsid(pid)
    return -pid
