"""The shared memory that processes map, as the kernel lists it: no code of Tidemark's."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path

from system import PAGE, status

_TMPFS = 0x01021994
_EMPTY_PATH = 0x1000
_libc = ctypes.CDLL(None, use_errno=True)

Key = tuple[int, int, bytes]
"""Device, inode, and the handle, which sets apart what has the same numbers."""


@dataclass
class Shared:
    """One object: its name, where it is mapped (process and address), and a link to it."""

    name: str
    link: str
    places: set[tuple[int, int]] = field(default_factory=set)
    shown: list[range] = field(default_factory=list)
    """The pages that mappings show."""


def census(tracer: int) -> dict[Key, Shared]:
    """Return what the processes map that ``tracer`` traces, and their descendants."""
    found: dict[Key, Shared] = {}
    for pid in processes_of(tracer):
        for task, start, where, name, pages in _shared_mappings(pid):
            link = f"/proc/{task}/map_files/{where}"
            with contextlib.suppress(FileNotFoundError):  # of a process that runs
                descriptor = os.open(link, os.O_PATH)
                try:
                    if is_memory(descriptor):
                        one = found.setdefault(key_of(descriptor), Shared(name, link))
                        one.places.add((pid, start))
                        one.shown.append(pages)
                finally:
                    os.close(descriptor)
    return found


def processes_of(tracer: int) -> list[int]:
    """Return the processes that ``tracer`` traces, and their descendants."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    parents = {pid: status(pid, "PPid") for pid in pids}
    found = {pid for pid in pids if _is_traced(pid, tracer)}
    while more := {p for p, parent in parents.items() if parent and int(parent) in found} - found:
        found |= more
    return sorted(found)


def _is_traced(pid: int, tracer: int) -> bool:
    """Return whether any thread of it is: nobody traces a first one that has ended."""
    threads = [pid] if status(pid, "State")[:1] != "Z" else _tasks(pid)
    return any(status(thread, "TracerPid") == str(tracer) for thread in threads)


def _shared_mappings(pid: int) -> list[tuple[int, int, str, str, range]]:
    """Return thread, start, addresses, name and pages of each.

    A first thread that has ended has none.
    """
    for task in [pid, *_tasks(pid)]:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{task}/maps").read_text(errors="replace").splitlines()
            fields = [line.split(None, 5) for line in lines]
            if fields:
                return [_place(task, words) for words in fields if words[1][3] == "s"]
    return []


def _tasks(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return sorted(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir())
    return []


def _place(task: int, words: list[str]) -> tuple[int, int, str, str, range]:
    start, end = (int(address, 16) for address in words[0].split("-"))
    first = int(words[2], 16) // PAGE
    pages = range(first, first + (end - start) // PAGE)
    return task, start, f"{start:x}-{end:x}", words[5] if len(words) > 5 else "", pages


def key_of(descriptor: int) -> Key:
    """Return what an object is known by."""
    found = os.fstat(descriptor)
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    mount = ctypes.c_int()
    failed = _libc.name_to_handle_at(descriptor, b"", handle, ctypes.byref(mount), _EMPTY_PATH)
    length = 0 if failed else struct.unpack_from("I", handle.raw)[0]
    return found.st_dev, found.st_ino, handle.raw[8 : 8 + length]


def page_of(descriptor: int, offset: int) -> bytes:
    """Return the page at an offset as a mapping shows it: also what stands behind a file's end."""
    _libc.mmap.restype = ctypes.c_void_p
    _libc.munmap.argtypes = ctypes.c_void_p, ctypes.c_size_t
    address = _libc.mmap(
        None, PAGE, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, ctypes.c_long(offset)
    )
    assert address != ctypes.c_void_p(-1).value, os.strerror(ctypes.get_errno())
    try:
        return ctypes.string_at(address, PAGE)
    finally:
        _libc.munmap(address, PAGE)


def is_memory(descriptor: int) -> bool:
    """Return whether it is a regular file of a tmpfs, mounted wherever, or nowhere."""
    buffer = ctypes.create_string_buffer(512)
    assert _libc.fstatfs(descriptor, buffer) == 0
    kind = struct.unpack_from("l", buffer.raw)[0]
    return bool(kind == _TMPFS and stat.S_ISREG(os.fstat(descriptor).st_mode))
