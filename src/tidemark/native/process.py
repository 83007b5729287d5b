"""What Python cannot ask the kernel about processes."""

from __future__ import annotations

from tidemark.native.library import check, ffi, lib, new_error


def die_with_parent(signal: int) -> None:
    """Have the kernel send ``signal`` to this process when its parent ends."""
    error = new_error()
    check(lib.tm_process_die_with_parent(signal, error), error)


def forget_access(fd: int) -> None:
    """Set the access time of a file to 1970 and leave its other times.

    :raises ForbiddenError: when the file is another user's
    """
    error = new_error()
    check(lib.tm_file_forget_access(fd, error), error)


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
