"""The threads and processes of a workload that nobody has told of, and reports of births."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tidemark.native.library import check, ffi, lib, new_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_AT_ONCE = 1024


class Task(NamedTuple):
    """A thread of a process; a ``worker`` is one of the kernel's, in the memory of the process."""

    pid: int
    tid: int
    worker: bool


class Birth(NamedTuple):
    """A process that another has made, at a ``time`` of CLOCK_MONOTONIC in nanoseconds."""

    time: int
    maker: int
    child: int


def unknown_tasks(pids: Collection[int], known: Iterable[int]) -> list[Task]:
    """Return the threads of processes, and those of their children, that are not ``known``.

    Those that have ended are left out, and children where the kernel does not list them
    (CONFIG_PROC_CHILDREN).
    """
    known = sorted(known)
    tasks = ffi.new("struct tm_tasks *")
    raw_pids = ffi.new("int[]", list(pids))
    raw_known = ffi.new("int[]", known)
    tasks.pids, tasks.count = raw_pids, len(pids)
    tasks.known, tasks.known_count = raw_known, len(known)
    capacity = 64
    while True:
        found = ffi.new("struct tm_task[]", capacity)
        count = lib.tm_tasks_unknown(tasks, capacity, found)
        if count <= capacity:
            return [Task(raw.pid, raw.tid, raw.worker) for raw in ffi.unpack(found, count)]
        capacity = count + 64


class BirthReports:
    """Reports of every process that is made on this machine from now on: perf_event_open(2).

    :raises ForbiddenError: without the privilege to be told of all processes
    :raises NativeError: where the kernel does not report, or has no memory for it
    """

    def __init__(self) -> None:
        error = new_error()
        births = ffi.new("struct tm_births **")
        check(lib.tm_births_open(births, error), error)
        self._births = births[0]

    def close(self) -> None:
        """Be told no more; nothing may be asked any more."""
        lib.tm_births_close(self._births)

    def fileno(self) -> int:
        """Return a descriptor that can be read when it is time for :meth:`read`."""
        return int(lib.tm_births_descriptor(self._births))

    def read(self) -> tuple[list[Birth], bool]:
        """Return what was reported since the last call, and whether something was lost."""
        births: list[Birth] = []
        lost = False
        raw = ffi.new("struct tm_birth[]", _AT_ONCE)
        raw_lost = ffi.new("bool *")
        while True:
            count = lib.tm_births_read(self._births, _AT_ONCE, raw, raw_lost)
            births += [Birth(each.time, each.maker, each.child) for each in ffi.unpack(raw, count)]
            lost = lost or bool(raw_lost[0])
            if count < _AT_ONCE:
                return births, lost
