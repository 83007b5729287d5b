"""What Python cannot ask the kernel about processes."""

from __future__ import annotations

from typing import Any, NamedTuple

from tidemark.native.library import NativeError, check, ffi, lib, new_error


class OpenFile(NamedTuple):
    """A file that a process has open: its descriptor there, its device, its inode and its mode.

    ``represents``: of a device file, the numbers of the device.
    """

    number: int
    device: tuple[int, int]
    inode: int
    mode: int
    represents: tuple[int, int]


def die_with_parent(signal: int) -> None:
    """Have the kernel send ``signal`` to this process when its parent ends."""
    error = new_error()
    check(lib.tm_process_die_with_parent(signal, error), error)


def set_access_time(fd: int, nanoseconds: int) -> None:
    """Set the access time of a file, in nanoseconds of Unix, and leave that of modification.

    :raises ForbiddenError: when the file is another user's
    """
    error = new_error()
    check(lib.tm_file_set_access_time(fd, nanoseconds, error), error)


def may_use_userfaultfd(fd: int) -> bool:
    """Return whether a program (ELF) has in its code what makes a userfaultfd.

    :raises NativeError: when it cannot be looked at
    """
    error = new_error()
    found = ffi.new("bool *")
    check(lib.tm_program_may_use_userfaultfd(fd, found, error), error)
    return bool(found[0])


def adopt_orphans() -> None:
    """Make this process the parent of its orphaned descendants."""
    error = new_error()
    check(lib.tm_process_adopt_orphans(error), error)


def same_space(pid: int, other: int) -> bool:
    """Return whether two processes run in one address space, as after vfork.

    :raises ProcessGoneError: when one of them has ended
    """
    error = new_error()
    same = ffi.new("bool *")
    check(lib.tm_process_same_space(pid, other, same, error), error)
    return bool(same[0])


def same_files(tid: int, other: int) -> bool:
    """Return whether two threads have their open files in common.

    :raises ProcessGoneError: when one of them has ended
    """
    error = new_error()
    same = ffi.new("bool *")
    check(lib.tm_thread_same_files(tid, other, same, error), error)
    return bool(same[0])


def holds_locks(tid: int) -> bool:
    """Return whether the kernel will mark locks of thread ``tid`` when it ends (robust futexes).

    :raises ProcessGoneError: when it has ended
    """
    error = new_error()
    holds = ffi.new("bool *")
    check(lib.tm_thread_holds_locks(tid, holds, error), error)
    return bool(holds[0])


def changes_mappings(tid: int) -> bool:
    """Return whether thread ``tid``, which stands, is within a call such as munmap(2).

    :raises ProcessGoneError: when it has ended
    """
    error = new_error()
    changes = ffi.new("bool *")
    check(lib.tm_thread_changes_mappings(tid, changes, error), error)
    return bool(changes[0])


def has_pinned(pid: int) -> bool:
    """Return whether pages of a process are accounted for as pinned (VmPin).

    :raises ProcessGoneError: when it has ended
    """
    error = new_error()
    pinned = ffi.new("bool *")
    check(lib.tm_process_has_pinned(pid, pinned, error), error)
    return bool(pinned[0])


def pins_outstanding() -> bool | None:
    """Return whether the kernel holds pages for anybody on this machine.

    Their content may come past the page table. None where it cannot be told: only root may ask.
    """
    error = new_error()
    pinned = ffi.new("bool *")
    try:
        check(lib.tm_pins_outstanding(pinned, error), error)
    except NativeError:
        return None
    return bool(pinned[0])


def may_pin(tid: int) -> bool:
    """Return whether a thread may hold pages pinned now, of which the content comes later.

    :raises ProcessGoneError: when it has ended
    """
    error = new_error()
    pins = ffi.new("bool *")
    check(lib.tm_thread_may_pin(tid, pins, error), error)
    return bool(pins[0])


class Caller(NamedTuple):
    """A thread within process_vm_writev(2), and its target as it is numbered where that lives."""

    tid: int
    target: int


def find_callers() -> list[Caller]:
    """Return the threads of this machine that are within process_vm_writev(2), and sleep."""
    capacity = 64
    listed = ffi.new("struct tm_caller[]", capacity)
    count = ffi.new("size_t *")
    error = new_error()
    check(lib.tm_find_callers(capacity, listed, count, error), error)
    return [Caller(c.tid, c.target) for c in ffi.unpack(listed, min(count[0], capacity))]


def open_files(tid: int) -> list[OpenFile]:
    """Return what a thread has open; nothing when that is forbidden, or the thread is gone."""
    capacity = 64
    count = ffi.new("size_t *")
    error = new_error()
    while True:
        listed = ffi.new("struct tm_open_file[]", capacity)
        try:
            check(lib.tm_open_files(tid, capacity, listed, count, error), error)
        except NativeError:
            return []
        if count[0] <= capacity:
            return [_open_file(file) for file in ffi.unpack(listed, count[0])]
        capacity = count[0] + 16


def _open_file(raw: Any) -> OpenFile:
    device = raw.device_major, raw.device_minor
    represents = raw.represented_major, raw.represented_minor
    return OpenFile(raw.number, device, raw.inode, raw.mode, represents)
