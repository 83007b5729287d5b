"""What processes map, found out for the truth alone.

The dump could leave an object out, or take two for one; who compared it with a list of its own
making would never know. So nothing here is shared with :mod:`tracking`, :mod:`identify` and
:mod:`objects`: processes are found in /proc, mappings in the text of ``/proc/PID/maps``, and each
object is asked by calls of our own.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import stat
import struct
from dataclasses import dataclass, field

_TMPFS = 0x01021994
_EMPTY_PATH = 0x1000
_HANDLE_BYTES = 128
_LINE = re.compile(
    rb"([0-9a-f]+)-([0-9a-f]+) (.)..s ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+)\s*(.*)"
)

Key = tuple[int, int, bytes]
"""Device and inode of an object, and what sets it apart from others of these numbers."""


@dataclass(frozen=True)
class Sight:
    """A shared mapping as a line of ``/proc/TASK/maps`` has it; ``offset`` is in bytes."""

    pid: int
    task: int
    start: int
    end: int
    readable: bool
    offset: int
    device: int
    inode: int
    name: str

    @property
    def link(self) -> str:
        """The link to the object, which takes CAP_CHECKPOINT_RESTORE to follow."""
        return f"/proc/{self.task}/map_files/{self.start:x}-{self.end:x}"


@dataclass
class Subject:
    """One shared-memory object: who maps it where, and by which paths it may be opened."""

    key: Key
    name: str
    sights: list[Sight] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """What kind of shared memory it is, for people."""
        if self.key[0] != _kernel_device():
            return "posix"
        kinds = {"/memfd:": "memfd", "/SYSV": "sysv"}
        return next((k for name, k in kinds.items() if self.name.startswith(name)), "anonymous")


def workload(root: int, tracer: int) -> list[int]:
    """Return ``root``, its descendants, and all whom the process ``tracer`` traces."""
    parents, traced = {}, set()
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - quicker
        with contextlib.suppress(OSError):
            fields = _fields(int(name))
            parents[int(name)] = int(fields[b"PPid"])
            # Nobody traces a first thread that has ended.
            others = _tasks(int(name)) if fields[b"State"].startswith(b"Z") else []
            if tracer in (int(each[b"TracerPid"]) for each in (fields, *map(_fields, others))):
                traced.add(int(name))
    found = {root, *traced}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {tracer})


def _fields(pid: int) -> dict[bytes, bytes]:
    with open(f"/proc/{pid}/status", "rb", buffering=0) as file:  # noqa: PTH123 - quicker
        lines = file.read().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(b":") for line in lines)}


def sights(pid: int) -> list[Sight]:
    """Return the shared mappings of a process; none of one that is gone, or may not be seen."""
    for task in (pid, *_tasks(pid)):
        with contextlib.suppress(OSError), open(f"/proc/{task}/maps", "rb") as file:  # noqa: PTH123
            lines = file.read().splitlines()
            if lines:  # a first thread that has ended shows none
                matches = filter(None, map(_LINE.fullmatch, lines))
                return [_sight(pid, task, match) for match in matches]
    return []


def _tasks(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return sorted(map(int, os.listdir(f"/proc/{pid}/task")))  # noqa: PTH208 - quicker
    return []


def _sight(pid: int, task: int, match: re.Match[bytes]) -> Sight:
    start, end, read, offset, major, minor, inode, name = match.groups()
    return Sight(
        pid=pid,
        task=task,
        start=int(start, 16),
        end=int(end, 16),
        readable=read == b"r",
        offset=int(offset, 16),
        device=os.makedev(int(major, 16), int(minor, 16)),
        inode=int(inode),
        name=name.decode(errors="backslashreplace").removesuffix(" (deleted)"),
    )


@dataclass
class Inspection:
    """Shared memory by its key, and the names of what nobody could tell to be that or not."""

    subjects: dict[Key, Subject] = field(default_factory=dict)
    unjudged: set[str] = field(default_factory=set)

    def look_at(self, pid: int) -> None:
        """Note what a process maps."""
        seen = sights(pid)
        descriptors: dict[tuple[int, int], str] = {}
        for sight in seen:
            path, found = sight.link, _ask(sight.link)
            if found is None:
                descriptors = descriptors or _descriptors(sight.task)
                path, found = _ask_otherwise(sight, descriptors)
            if found is None:
                self.unjudged.add(sight.name)
            elif found[1]:
                subject = self.subjects.setdefault(found[0], Subject(found[0], sight.name))
                subject.sights.append(sight)
                subject.paths.append(path)


Found = tuple[Key, bool]
"""An object's key, and whether it is shared memory."""


def _ask(path: str) -> Found | None:
    """Return what is at a path; None where it cannot be asked. It is not opened for that."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        return key_of(descriptor), is_memory(descriptor)
    finally:
        os.close(descriptor)


def _ask_otherwise(
    sight: Sight, descriptors: dict[tuple[int, int], str]
) -> tuple[str, Found | None]:
    """Ask by a descriptor, by the name and by the list of mounts; return the path, too.

    Without the object's handle, segments of two IPC namespaces are told apart by these.
    """
    numbers = sight.device, sight.inode
    if sight.device == _kernel_device():
        apart = _namespace(sight.task) if sight.name.startswith("/SYSV") else b""
        return descriptors.get(numbers, ""), ((*numbers, apart), True)
    for path in (descriptors.get(numbers, ""), f"/proc/{sight.task}/root{sight.name}"):
        found = _ask(path) if path else None
        if found is not None and found[0][:2] == numbers:
            return path, ((*numbers, b""), found[1])
    mounted = _mounted(sight.task, sight.device)
    return "", ((*numbers, b""), mounted in {b"tmpfs", b"devtmpfs"}) if mounted else None


def _namespace(task: int) -> bytes:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{task}/ns/ipc").encode()  # noqa: PTH115 - quicker
    return b""


def _descriptors(task: int) -> dict[tuple[int, int], str]:
    found = {}
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{task}/fd"):  # noqa: PTH208 - quicker
            path = f"/proc/{task}/fd/{number}"
            with contextlib.suppress(OSError):
                status = os.stat(path)  # noqa: PTH116 - quicker
                found[status.st_dev, status.st_ino] = path
    return found


def _mounted(task: int, device: int) -> bytes | None:
    wanted = f"{os.major(device)}:{os.minor(device)}".encode()
    with contextlib.suppress(OSError), open(f"/proc/{task}/mountinfo", "rb") as file:  # noqa: PTH123
        for line in file.read().splitlines():
            if line.split()[2] == wanted:
                return line.partition(b" - ")[2].split()[0]
    return None


# What an object says of itself


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def _kernel_device() -> int:
    descriptor = os.memfd_create("tidemark-truth")
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


def key_of(descriptor: int) -> Key:
    """Return what tells the object behind a descriptor from every other: its handle, too."""
    status = os.fstat(descriptor)
    head = struct.pack("Ii", _HANDLE_BYTES, 0)
    handle = ctypes.create_string_buffer(head, len(head) + _HANDLE_BYTES)
    mount = ctypes.c_int()
    failed = _libc().name_to_handle_at(descriptor, b"", handle, ctypes.byref(mount), _EMPTY_PATH)
    length = 0 if failed else struct.unpack_from("I", handle.raw)[0]
    return status.st_dev, status.st_ino, handle.raw[len(head) : len(head) + length]


def is_memory(descriptor: int) -> bool:
    """Return whether a descriptor shows shared memory: a regular file of a tmpfs, wherever."""
    buffer = ctypes.create_string_buffer(512)  # struct statfs, which begins with the type
    if _libc().fstatfs(descriptor, buffer) or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    return bool(struct.unpack_from("l", buffer.raw)[0] == _TMPFS)
