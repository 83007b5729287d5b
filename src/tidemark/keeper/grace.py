"""Waiting until no page is pinned any more that was pinned before a certain moment.

The kernel pins a page before it writes it past the page table: for a direct read (O_DIRECT), or
process_vm_writev(2). That marks the page as written, and what is written comes later, without a
mark. Where the tracker has forgotten the mark in between, a copy that was made then is stale, and
nobody is told.

So, as with RCU: after the tracker has forgotten its marks, each thread of the workload is seen once
at a point where it holds no page, and only then copies are made. What it had pinned has its content
by then; what it pins from now on is marked again. A thread that sleeps in a call that pins nothing
is at such a point; any other one is stopped for a moment.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from tidemark import proc
from tidemark.keeper.tree import State
from tidemark.native.library import NativeError, ProcessGoneError
from tidemark.native.process import find_callers, may_pin
from tidemark.native.tasks import unknown_tasks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tidemark.keeper.tree import Process, Thread, Tree

log = logging.getLogger(__name__)

PATIENCE = 0.5
"""Seconds for which a thread is waited for: one that reads from a slow device takes its time."""


def has_passed(tree: Tree, *, pinned: bool) -> bool:
    """Return whether what was pinned before this was called has its content by now.

    :param pinned: whether the kernel may hold pages on behalf of a process, not of a thread
    """
    if pinned or _has_others(tree):
        return False
    unsafe = [thread for thread in tree.threads.values() if _may_hold(thread)]
    if not tree.stop_briefly(unsafe, PATIENCE):
        return False
    return not called_from_outside(tree.processes.values())


def _may_hold(thread: Thread) -> bool:
    if thread.state is not State.RUNNING or thread.group_stop:
        return False  # it stands, waits for its child, or has left its last system call
    try:
        return may_pin(thread.tid)
    except ProcessGoneError:
        return False
    except NativeError:
        return True


def _has_others(tree: Tree) -> bool:
    """Return whether a process has threads that are not traced: they cannot be waited for."""
    return bool(unknown_tasks(tree.processes, tree.threads))


def called_from_outside(processes: Iterable[Process]) -> bool:
    """Return whether somebody is within process_vm_writev(2) to one of the processes.

    What he has pinned may get its content at any time, and is not marked then.
    """
    try:
        targets = {caller.target for caller in find_callers()}
    except NativeError as error:
        log.warning("it cannot be told who writes to the workload from outside: %s", error)
        return True
    return bool(targets) and any(targets & _numbers(process) for process in processes)


def _numbers(process: Process) -> set[int]:
    """Return the ids of the threads of a process, in each namespace in which it has one."""
    found = set()
    for tid in [process.pid, *proc.thread_ids(process.pid)]:
        with contextlib.suppress(ValueError):
            found |= {int(number) for number in (proc.status_field(tid, "NSpid") or "").split()}
    return found
