"""What processes map, found out for the truth alone.

The dump could leave an object out, or take two for one; who compared it with a list of its own
making would never know. So nothing here is shared with :mod:`tracking`, :mod:`identify` and
:mod:`objects`: processes are found in /proc, mappings in the text of ``/proc/PID/maps``, and each
object is asked by calls of our own.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from tidemark.keeper.interview import Found, Key, ask, kernel_device

_LINE = re.compile(
    rb"([0-9a-f]+)-([0-9a-f]+) (.)..s ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+)\s*(.*)"
)


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
        if self.key[0] != kernel_device():
            return "posix"
        kinds = {"/memfd:": "memfd", "/SYSV": "sysv"}
        return next((k for name, k in kinds.items() if self.name.startswith(name)), "anonymous")


def workload(root: int, tracer: int) -> list[int]:
    """Return ``root``, its descendants, and all whom the process ``tracer`` traces."""
    parents, traced = {}, set()
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - quicker
        with contextlib.suppress(OSError, KeyError):  # it is gone, or all but gone
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


def _lines(content: bytes) -> list[bytes]:
    """Return lines as the kernel ends them: a carriage return is part of a name."""
    return [line for line in content.split(b"\n") if line]


def _fields(pid: int) -> dict[bytes, bytes]:
    with open(f"/proc/{pid}/status", "rb", buffering=0) as file:  # noqa: PTH123 - quicker
        lines = _lines(file.read())
    return {name: value.strip() for name, _, value in (line.partition(b":") for line in lines)}


def sights(pid: int) -> list[Sight]:
    """Return the shared mappings of a process; none of one that is gone, or may not be seen."""
    for task in (pid, *_tasks(pid)):
        with contextlib.suppress(OSError), open(f"/proc/{task}/maps", "rb") as file:  # noqa: PTH123
            lines = _lines(file.read())
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
        for sight in sights(pid):
            path, found = sight.link, ask(sight.link)
            if found is None:
                path, found = _ask_otherwise(sight)
            if found is None:
                self.unjudged.add(sight.name)
            elif found[1]:
                subject = self.subjects.setdefault(found[0], Subject(found[0], sight.name))
                subject.sights.append(sight)
                subject.paths.append(path)


def _ask_otherwise(sight: Sight) -> tuple[str, Found | None]:
    """Ask by the kernel's device, by the list of mounts and by a descriptor; return that, too.

    Without the object's handle, segments of two IPC namespaces are told apart by these.
    """
    numbers = sight.device, sight.inode
    if sight.device == kernel_device():
        apart = _namespace(sight.task) if sight.name.startswith("/SYSV") else b""
        return _descriptor_of(sight), ((*numbers, apart), True)
    mounted = _mounted(sight.task, sight.device)
    if mounted in {b"tmpfs", b"devtmpfs"}:
        path = _descriptor_of(sight) or f"/proc/{sight.task}/root{sight.name}"
        return path, ((*numbers, b""), not _is_device(path))
    if mounted is not None:
        return "", ((*numbers, b""), False)
    path = _descriptor_of(sight)
    found = ask(path) if path else None
    return path, found and ((*numbers, b""), found[1])


def _is_device(path: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        mode = os.stat(path).st_mode  # noqa: PTH116 - quicker
        return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
    return False


def _namespace(task: int) -> bytes:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{task}/ns/ipc").encode()  # noqa: PTH115 - quicker
    return b""


def _descriptor_of(sight: Sight) -> str:
    """Return the path of a descriptor of a mapping's object; empty where there is none.

    Only one with the same inode's number (proc(5), fdinfo) is asked for more.
    """
    wanted = f"ino:\t{sight.inode}\n".encode()
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{sight.task}/fd"):  # noqa: PTH208 - quicker
            path = f"/proc/{sight.task}/fd/{number}"
            with contextlib.suppress(OSError):
                if wanted in Path(f"/proc/{sight.task}/fdinfo/{number}").read_bytes():
                    status = os.stat(path)  # noqa: PTH116 - quicker
                    if (status.st_dev, status.st_ino) == (sight.device, sight.inode):
                        return path
    return ""


def _mounted(task: int, device: int) -> bytes | None:
    wanted = f"{os.major(device)}:{os.minor(device)}".encode()
    with contextlib.suppress(OSError):
        for line in _lines(Path(f"/proc/{task}/mountinfo").read_bytes()):
            if line.split()[2] == wanted:
                return line.partition(b" - ")[2].split()[0]
    return None
