"""Shared-memory objects: which mapping shows which, and reaching the object itself."""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark import proc
from tidemark.errors import UnsupportedError
from tidemark.keeper.descriptors import file_tables
from tidemark.native.library import PAGE_SIZE
from tidemark.native.process import open_files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tidemark.native.maps import RawMapping

Device = tuple[int, int]
Identity = tuple[Device, int, bool]
"""Device and inode of one shared-memory object, and whether it is a SysV segment.

A segment shows its id as its inode, which may also be the inode of another object.
"""

_DELETED = " (deleted)"
_MFD_HUGETLB = 4
_HUGE = "huge"


@dataclass(frozen=True)
class Mapping:
    """One process's view of an object: addresses, and the first page that it shows."""

    identity: Identity
    kind: str
    name: str
    start: int
    end: int
    page: int
    protection: int

    @property
    def count(self) -> int:
        """The length in pages."""
        return (self.end - self.start) // PAGE_SIZE


@functools.cache
def _memory_device(flags: int = 0) -> Device | None:
    """Return the device of the kernel's own shared memory, found by a file of ours there.

    Anonymous shared memory, memory files and SysV segments are all on it; with MFD_HUGETLB
    it is that of huge pages, None where the kernel has none.
    """
    try:
        descriptor = os.memfd_create("tidemark-device", flags)
    except OSError:
        return None
    device = os.fstat(descriptor).st_dev
    os.close(descriptor)
    return os.major(device), os.minor(device)


def _file_systems(tid: int) -> dict[Device, str]:
    """Return the type of each file system mounted where thread ``tid`` lives."""
    found: dict[Device, str] = {}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{tid}/mountinfo").read_text(errors="replace").splitlines():
            before, _, after = line.partition(" - ")
            major, minor = before.split()[2].split(":")
            found[int(major), int(minor)] = after.split()[0]
    return found


def _kind_of_own(name: str) -> str:
    """Return the kind of an object on the kernel's own device, by the name it shows."""
    if name.startswith("/memfd:"):
        return "memfd"
    if name.startswith("/SYSV"):
        return "sysv"
    return "anonymous"


class Classifier:
    """Tells shared memory from mapped files."""

    def __init__(self) -> None:
        self._mounted: dict[Device, str] = {}

    def shared_memory(
        self, tid: int, raw: Iterable[RawMapping], *, ours: bool = True
    ) -> list[Mapping]:
        """Return those of the mappings of a process that show shared memory, ascending.

        :param tid: a thread of it that has not ended
        :param ours: whether it is of the workload; memory in huge pages matters only there
        :raises UnsupportedError: for memory in huge pages
        """
        found = []
        for mapping in raw:
            kind = self._kind(tid, mapping)
            if kind == _HUGE and ours:
                raise _huge(tid, mapping)
            if kind is not None:
                found.append(_mapping(mapping, kind))
        return found

    def _kind(self, tid: int, mapping: RawMapping) -> str | None:
        if mapping.device == _memory_device():
            return _kind_of_own(mapping.name)
        if mapping.device == _memory_device(_MFD_HUGETLB):
            return _HUGE
        if mapping.device not in self._mounted:
            # A file system may have been mounted, or its number taken by another, since.
            self._mounted = _file_systems(tid)
            self._mounted.setdefault(mapping.device, "")
        return {"tmpfs": "posix", "hugetlbfs": _HUGE}.get(self._mounted[mapping.device])


def _huge(tid: int, mapping: RawMapping) -> UnsupportedError:
    pid = proc.status_field(tid, "Tgid") or tid
    return UnsupportedError(
        f"process {pid} shares memory in huge pages (hugetlb) at {mapping.start:#x} "
        f"({mapping.name}), which Tidemark does not support yet; run the workload without them"
    )


def _mapping(raw: RawMapping, kind: str) -> Mapping:
    return Mapping(
        identity=(raw.device, raw.inode, kind == "sysv"),
        kind=kind,
        name=raw.name.removesuffix(_DELETED),
        start=raw.start,
        end=raw.end,
        page=raw.offset // PAGE_SIZE,
        protection=raw.protection,
    )


def open_object(pids: Iterable[int], tid: int, mapping: Mapping) -> int | None:
    """Return a descriptor of the object itself, for reading; None where none can be had.

    Tried in turn: the mapping's link in map_files (which wants CAP_CHECKPOINT_RESTORE), the
    file's name, and a descriptor that one of the processes ``pids`` holds.

    :param tid: a thread of the process that maps it
    """
    candidates = [f"/proc/{tid}/map_files/{mapping.start:x}-{mapping.end:x}"]
    if mapping.kind == "posix":
        candidates.append(f"/proc/{tid}/root{mapping.name}")
    for path in candidates:
        descriptor = _open_if(path, mapping.identity)
        if descriptor is not None:
            return descriptor
    for holder in (table for pid in pids for table in file_tables(pid)):
        for file in open_files(holder):
            if (file.device, file.inode) == mapping.identity[:2]:
                descriptor = _open_if(f"/proc/{holder}/fd/{file.number}", mapping.identity)
                if descriptor is not None:
                    return descriptor
    return None


def _open_if(path: str, identity: Identity) -> int | None:
    """Open ``path``, unless it is not the object that is wanted."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        # What we read ourselves must not look as if somebody had touched the object.
        descriptor = os.open(path, flags | os.O_NOATIME)
    except PermissionError:
        try:
            descriptor = os.open(path, flags)
        except OSError:
            return None
    except OSError:
        return None
    if _shows(os.fstat(descriptor), identity):
        return descriptor
    os.close(descriptor)
    return None


def _shows(status: os.stat_result, identity: Identity) -> bool:
    """Return whether a file's status is that of an object."""
    device = os.major(status.st_dev), os.minor(status.st_dev)
    return (device, status.st_ino) == identity[:2]
