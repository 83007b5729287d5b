"""Threads under ptrace. Every call must come from the one thread that seized."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from tidemark.native.library import check, ffi, lib, new_error

if TYPE_CHECKING:
    from tidemark.native.bitmap import Bitmap
    from tidemark.native.space import View


class EventKind(IntEnum):
    """What happened to a tracee: ``enum tm_event_kind`` of tidemark.h."""

    NONE = lib.TM_EVENT_NONE
    STOPPED = lib.TM_EVENT_STOPPED
    SIGNAL = lib.TM_EVENT_SIGNAL
    CHILD = lib.TM_EVENT_CHILD
    VFORK = lib.TM_EVENT_VFORK
    VFORK_DONE = lib.TM_EVENT_VFORK_DONE
    EXEC = lib.TM_EVENT_EXEC
    EXITING = lib.TM_EVENT_EXITING
    ENDED = lib.TM_EVENT_ENDED
    SYSCALL = lib.TM_EVENT_SYSCALL
    OTHER = lib.TM_EVENT_OTHER


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one thread; ``signal``, ``child`` and ``exit_code`` are 0 where not apt.

    ``waits``: it is within a call without a time limit that is made again; ``guards``: it is about
    to have memory guarded (MADV_GUARD_INSTALL), which under uffd-wp does not come to an end.
    """

    kind: EventKind
    tid: int
    signal: int
    child: int
    exit_code: int
    waits: bool = False
    guards: bool = False


class Stopped(NamedTuple):
    """A thread of a process that stands and can be asked to execute system calls."""

    pid: int
    tid: int
    options: int


def options(*, kill_with_tracer: bool) -> int:
    """Return the options of a seizure: to follow all that a thread will create, too.

    :param kill_with_tracer: the kernel kills the tracees when this process ends
    """
    killing: int = lib.TM_SEIZE_KILL_WITH_TRACER if kill_with_tracer else 0
    return int(lib.TM_SEIZE_FOLLOW) | killing


def seize(tid: int, options: int) -> None:
    """Trace ``tid``, without stopping it.

    :raises TracedError: when another process traces it; the message says which
    :raises ForbiddenError: when the privileges do not suffice
    :raises ProcessGoneError: when it has ended
    """
    error = new_error()
    check(lib.tm_tracee_seize(tid, options, error), error)


def interrupt(tid: int, *, waits: bool | None = False) -> None:
    """Ask ``tid`` to stop; it reports STOPPED.

    :param waits: whether it is within a call as :attr:`Event.waits` tells of, None if that is to be
        found out: then it is seen to within microseconds that the call is made again
    :raises ProcessGoneError: when it has ended
    """
    error = new_error()
    if waits is False:
        check(lib.tm_tracee_interrupt(tid, error), error)
    else:
        check(lib.tm_tracee_interrupt_call(tid, waits is True, error), error)


def wait(tid: int = 0, *, block: bool = False, mend: bool = False) -> Event | None:
    """Return the next change of ``tid``, or of any tracee; None when there is none.

    :param mend: whether a call is mended at once that was ended by this (:func:`mend_call`)
    :raises ProcessGoneError: when ``tid`` is not a tracee
    """
    error = new_error()
    event = ffi.new("struct tm_event *")
    how = (lib.TM_WAIT_BLOCK if block else 0) | (lib.TM_WAIT_MEND if mend else 0)
    check(lib.tm_tracee_wait(tid, how, event, error), error)
    if event.kind == lib.TM_EVENT_NONE:
        return None
    return Event(
        EventKind(event.kind),
        event.tid,
        event.signal,
        event.child,
        event.exit_code,
        bool(event.waits),
        bool(event.guards),
    )


def resume(tid: int, signal: int = 0) -> None:
    """Let a stopped thread run on, and receive ``signal`` where it is not 0.

    :raises ProcessGoneError: when it was killed meanwhile
    """
    error = new_error()
    check(lib.tm_tracee_continue(tid, signal, error), error)


def mend_call(event: Event) -> Event:
    """Have a system call made again that our stop has ended, if it was to wait without limit.

    As :func:`wait` does where it is told to, for an event that came without that. Return the event
    with what was found.

    :raises ProcessGoneError: when the thread was killed meanwhile
    """
    error = new_error()
    found = ffi.new("struct tm_event *")
    check(lib.tm_tracee_mend_call(event.tid, found, error), error)
    return replace(event, waits=bool(found.waits), guards=bool(found.guards))


def listen(tid: int) -> None:
    """Leave a thread in its group stop, as SIGSTOP put it, and let it report again.

    :raises ProcessGoneError: when it was killed meanwhile
    """
    error = new_error()
    check(lib.tm_tracee_listen(tid, error), error)


def detach(tid: int, signal: int = 0) -> None:
    """Give up a stopped thread; it runs on.

    :raises ProcessGoneError: when it was killed meanwhile
    """
    error = new_error()
    check(lib.tm_tracee_detach(tid, signal, error), error)


def resident(thread: Stopped, view: View, pages: Bitmap) -> None:
    """Add the view's pages that its object holds in memory, asked from within a stopped thread.

    :raises ProcessGoneError: when the thread was killed meanwhile
    :raises LackingError: when it filters its system calls, and we may not suspend that
    """
    error = new_error()
    raw = ffi.new("struct tm_view *", view)
    check(lib.tm_tracee_resident(thread, raw, pages.handle, error), error)
