"""What the kernel says about processes, read without any code of Tidemark's."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = os.sysconf("SC_PAGESIZE")
SA_RESTART = 0x10000000
SLOWNESS = float(os.environ.get("TIDEMARK_TEST_SLOWNESS", "1"))
"""How many times longer than on a processor of its own everything takes: in an emulated machine."""

PATIENCE = 10.0 * SLOWNESS
"""Seconds until a test gives up waiting: not a measure of anything."""


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition to hold; fail the test when it never does."""
    deadline = time.monotonic() + PATIENCE
    pause = 0.0005
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def status(tid: int, field: str) -> str:
    """Return a field of a thread's status; empty when it is gone."""
    with contextlib.suppress(OSError):
        # A name may hold any bytes, and what looks like the end of a line to Python.
        for line in Path(f"/proc/{tid}/status").read_bytes().decode(errors="replace").split("\n"):
            if line.startswith(f"{field}:"):
                return line.partition(":")[2].strip()
    return ""


def state(tid: int) -> str:
    """Return the letter of a thread's state; empty when it is gone."""
    return status(tid, "State")[:1]


def is_alive(pid: int) -> bool:
    """Return whether a process runs, or stands; a zombie does not."""
    return state(pid) not in {"", "Z", "X"}


def threads(pid: int) -> list[int]:
    """Return the ids of a process's threads."""
    return sorted(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir())


def descriptors(pid: int) -> dict[int, str]:
    """Return the open descriptors of a process, and what they show."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        found[int(entry.name)] = str(entry.readlink())
    return found


def maps(pid: int) -> str:
    """Return all mappings of a process with their flags, userfaultfd's among them."""
    kept = []
    for line in Path(f"/proc/{pid}/smaps").read_text(errors="replace").splitlines():
        name = line.split(maxsplit=1)[0]
        if name == "VmFlags:" or not name.endswith(":"):
            kept.append(line)
    return "\n".join(kept)


def shows(pid: int, address: int) -> bool:
    """Return whether a process maps anything at an address."""
    for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
        start, _, end = line.split(maxsplit=1)[0].partition("-")
        if int(start, 16) <= address < int(end, 16):
            return True
    return False


def marked(mark: str) -> list[int]:
    """Return the processes that have ``mark`` in their environment; no zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def data_runs(descriptor: int) -> list[tuple[int, int]]:
    """Return the stretches of a file that are no holes: start and end, in bytes."""
    runs, position, size = [], 0, os.fstat(descriptor).st_size
    with contextlib.suppress(OSError):  # ENXIO: nothing but a hole is left
        while position < size:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
            position = os.lseek(descriptor, start, os.SEEK_HOLE)
            runs.append((start, position))
    return runs


_libc = ctypes.CDLL(None, use_errno=True)


class _Piece(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def write_across(pid: int, address: int, data: bytes) -> None:
    """Write into another process's memory: process_vm_writev(2)."""
    ours = _Piece(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p), len(data))
    theirs = _Piece(address, len(data))
    if _libc.process_vm_writev(pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "process_vm_writev")
