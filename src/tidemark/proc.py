"""What ``/proc`` says about processes: proc(5)."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

_STAT_PARENT = 1
_STAT_FLAGS = 6
_STAT_START = 19

_WORKER_FLAGS = 0x10 | 0x4000
"""PF_IO_WORKER, PF_USER_WORKER: linux/sched.h."""


_EXECUTING = {59, 322}
_CLONING = {56, 58, 435}
"""Numbers of execve(2) and execveat(2), and of clone(2), vfork(2) and clone3(2), on x86-64."""


_OURS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def _pass_on(error: OSError) -> None:
    """Raise an error that is ours: that nothing could be read says nothing of a process then."""
    if error.errno in _OURS:
        raise error


def read(path: str) -> str:
    """Return the content of a file of /proc: without pathlib, since there are many."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return file.read().decode(errors="replace")


def lines(text: str) -> list[str]:
    """Return the lines of a file of the kernel, which escapes a newline in a name, and no other.

    ``splitlines`` would take a carriage return in the name of a thread, a file or a mount for the
    end of a line, and what follows for what the kernel says.
    """
    return [line for line in text.split("\n") if line]


def status_field(tid: int, name: str) -> str | None:
    """Return one field of ``/proc/TID/status``; None when the thread is gone."""
    try:
        text = read(f"/proc/{tid}/status")
    except OSError as error:
        _pass_on(error)
        return None
    for line in lines(text):
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    return None


def frozen_by(pid: int) -> str | None:
    """Return the control group (cgroup v2) that keeps a process frozen; None where none does."""
    with contextlib.suppress(OSError):
        for line in lines(read(f"/proc/{pid}/cgroup")):
            number, _, path = line.split(":", 2)
            events = Path("/sys/fs/cgroup" + path, "cgroup.events")
            if number == "0" and "frozen 1" in events.read_text():
                return path
    return None


def _stat(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/PID/stat`` after the command's name, or None."""
    try:
        text = read(f"/proc/{pid}/stat")
    except OSError as error:
        _pass_on(error)
        return None
    # The name is in parentheses and may itself hold spaces and parentheses.
    return text.rpartition(")")[2].split()


def parent_of(pid: int) -> int | None:
    """Return the parent's pid; None when the process is gone."""
    fields = _stat(pid)
    return int(fields[_STAT_PARENT]) if fields else None


def start_time(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot; None when it is gone."""
    fields = _stat(pid)
    return int(fields[_STAT_START]) if fields else None


def is_running(pid: int, started: int) -> bool:
    """Return whether the process that started at ``started`` (clock ticks) has not ended."""
    fields = _stat(pid)
    if fields is None:
        return False
    return int(fields[_STAT_START]) == started and fields[0] not in {"Z", "X"}


def state_of(tid: int) -> str | None:
    """Return the one-letter state of a thread, ``Z`` for a zombie; None when it is gone."""
    fields = _stat(tid)
    return fields[0] if fields else None


def has_ended(tid: int) -> bool:
    """Return whether a thread has ended, and at most waits for somebody to ask how."""
    return state_of(tid) in {None, "Z", "X"}


def user_of(pid: int) -> int | None:
    """Return the user with whose rights a process opens files; None when it is gone."""
    users = status_field(pid, "Uid")  # real, effective, saved, and for files
    return int(users.split()[3]) if users else None


def has_memory(tid: int) -> bool:
    """Return whether a thread has not given up its memory yet, as it does when it ends.

    The link to its program is asked, which takes no reference to its memory. While somebody holds
    one, as a reader of ``/proc/TID/status`` does, the kernel clears the id of a last thread in
    memory (clear_child_tid), which it leaves alone otherwise: mm_release() of the kernel.
    """
    try:
        os.readlink(f"/proc/{tid}/exe")  # noqa: PTH115 - it need not be read as a path
    except PermissionError:
        return status_field(tid, "VmSize") is not None
    except OSError:
        return False
    return True


def command_of(pid: int) -> str:
    """Return the process's short name, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return ""


def thread_ids(pid: int) -> list[int]:
    """Return the ids of the process's threads, empty when it is gone."""
    try:
        return sorted(map(int, os.listdir(f"/proc/{pid}/task")))  # noqa: PTH208 - quicker
    except OSError as error:
        _pass_on(error)
        return []


def is_worker(tid: int) -> bool:
    """Return whether a thread is one of the kernel's in the memory of a process.

    So are those of io_uring(7) and of vhost: they are listed with its threads, cannot be stopped,
    and run none of its code.
    """
    fields = _stat(tid)
    return fields is not None and bool(int(fields[_STAT_FLAGS]) & _WORKER_FLAGS)


def _system_call(tid: int) -> int | None:
    """Return the number of the system call that a thread waits in; None when it does not."""
    try:
        return int(read(f"/proc/{tid}/syscall").split()[0])
    except (OSError, ValueError):
        return None


def is_executing(tid: int) -> bool:
    """Return whether a thread is seen to execute a program, and waits for others to end."""
    return _system_call(tid) in _EXECUTING


def is_cloning(tid: int) -> bool:
    """Return whether a thread is seen to make a process, and waits: for its child, after vfork."""
    return _system_call(tid) in _CLONING


def lists_children() -> bool:
    """Return whether the kernel lists the children of each thread (CONFIG_PROC_CHILDREN)."""
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def process_ids() -> list[int]:
    """Return the pids of all processes that can be seen."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208


def children_of(tid: int) -> list[int]:
    """Return the children of a thread; empty where the kernel does not tell."""
    try:
        return [int(child) for child in read(f"/proc/{tid}/task/{tid}/children").split()]
    except OSError as error:
        _pass_on(error)
        return []


def tree_of(root: int) -> list[int]:
    """Return ``root`` and its living descendants, parents before children."""
    children: dict[int, list[int]] = {}
    for pid in process_ids():
        parent = parent_of(pid)
        if parent is not None:
            children.setdefault(parent, []).append(pid)
    found = [root]
    for pid in found:
        # The order of birth, which pids alone do not give once they have wrapped.
        found.extend(
            sorted(children.get(pid, []), key=lambda child: (start_time(child) or 0, child))
        )
    return found


def descriptor_flags(tid: int, number: int) -> int:
    """Return the flags of an open file; those for reading and writing when they are not told."""
    try:
        text = read(f"/proc/{tid}/fdinfo/{number}")
    except OSError:
        return os.O_RDWR
    for line in lines(text):
        if line.startswith("flags:"):
            return int(line.split()[1], 8)
    return os.O_RDWR


def waiting_descriptors(tid: int, number: int) -> int | None:
    """Return how many descriptors wait in a Unix socket, sent and not received.

    None for another file, and where the kernel does not tell (before Linux 5.14).
    """
    try:
        text = read(f"/proc/{tid}/fdinfo/{number}")
    except OSError:
        return None
    _, found, rest = text.partition("scm_fds:")
    return int(rest.split(maxsplit=1)[0]) if found else None
