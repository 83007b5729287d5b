"""Shared-memory objects: which mapping shows which, and reaching the object itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemark.keeper.descriptors import file_tables
from tidemark.native.identity import object_of
from tidemark.native.library import PAGE_SIZE, NativeError
from tidemark.native.process import open_files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tidemark.native.maps import RawMapping

Device = tuple[int, int]
Identity = tuple[Device, int, bool, bytes]
"""Device and inode of one object, whether it is a SysV segment, and what sets it apart.

A segment shows its id as its inode, which may also be the inode of another object, and the id of
a segment of another IPC namespace. What sets objects of one inode apart is the object's handle,
which has a generation, or, where it cannot be asked, the namespace of the process (segments).
"""

TRACKED = frozenset({"anonymous", "memfd", "sysv", "posix"})
"""The kinds of shared memory. What is of another kind is listed, and not saved."""

_DELETED = " (deleted)"


@dataclass(frozen=True)
class Mapping:
    """One process's view of an object: addresses, and the first page that it shows.

    ``length``: the object's size in bytes where it is a file; else None.
    """

    identity: Identity
    kind: str
    name: str
    start: int
    end: int
    page: int
    protection: int
    length: int | None = None

    @classmethod
    def of(
        cls, raw: RawMapping, kind: str, handle: bytes = b"", length: int | None = None
    ) -> Mapping:
        """Return a mapping whose object was found to be of a ``kind``."""
        return cls(
            identity=(raw.device, raw.inode, kind == "sysv", handle),
            kind=kind,
            name=raw.name.removesuffix(_DELETED),
            start=raw.start,
            end=raw.end,
            page=raw.offset // PAGE_SIZE,
            protection=raw.protection,
            length=length,
        )

    @property
    def tracked(self) -> bool:
        """Whether it shows shared memory, which is saved."""
        return self.kind in TRACKED

    @property
    def count(self) -> int:
        """The length in pages."""
        return (self.end - self.start) // PAGE_SIZE


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
    if mapping.kind not in {"memfd", "posix"}:
        return None  # no process can hold one of it
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
    if _shows(descriptor, identity):
        return descriptor
    os.close(descriptor)
    return None


def _shows(descriptor: int, identity: Identity) -> bool:
    """Return whether a descriptor is of an object."""
    try:
        found = object_of(descriptor)
    except NativeError:
        return False
    device, inode, segment, handle = identity
    same = (found.device, found.inode) == (device, inode)
    return same and (segment or not handle or found.handle == handle)
