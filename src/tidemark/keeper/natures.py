"""What an object is, by what it says of itself, its mount, and what the kernel calls it."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from typing import TYPE_CHECKING

from tidemark import proc

if TYPE_CHECKING:
    from tidemark.keeper.objects import Device
    from tidemark.native.maps import RawMapping

HUGE = "huge"
MEMORY = "memory"

_MFD_HUGETLB = 4
_TMPFS_MAGIC = 0x01021994
_MOUNTED = {
    "tmpfs": MEMORY,
    "devtmpfs": MEMORY,
    "hugetlbfs": HUGE,
    "ramfs": "ramfs file",
}
_MADE_BY_THE_KERNEL = {
    "anon_inode:": "kernel object",
    "/[aio]": "kernel object",
    "/secretmem": "secret memory",
    "/dmabuf:": "dma-buf",
    "socket:[": "socket",
}
"""How objects of file systems that are mounted nowhere begin to be called."""

_SIZED = {MEMORY, "file", "ramfs file", "secret memory"}


def is_memory(mode: int, file_system: int) -> bool:
    """Return whether an object is shared memory: a regular file of a tmpfs, mounted wherever.

    :param file_system: the type as statfs(2) has it; devtmpfs says the same
    """
    return file_system == _TMPFS_MAGIC and stat.S_ISREG(mode)


def kind_of_other(raw: RawMapping, mode: int, mounted: str | None) -> str | None:
    """Return what an object is that is no shared memory; None where nothing tells.

    :param mode: as stat(2) has it; 0 where that is not known
    :param mounted: the type of its file system, where that is mounted
    """
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "device"
    if stat.S_ISSOCK(mode):
        return "socket"
    if mounted is not None:
        return _MOUNTED.get(mounted, "file")
    made = (kind for name, kind in _MADE_BY_THE_KERNEL.items() if raw.name.startswith(name))
    return next(made, None)


def length_of(kind: str, size: int) -> int | None:
    """Return the length of an object in bytes; None for one whose size says nothing."""
    return size if kind in _SIZED else None


def kind_of_own(name: str) -> str:
    """Return the kind of an object on the kernel's own device, by the name that it gives it."""
    if name.startswith("/memfd:"):
        return "memfd"
    if name.startswith("/SYSV"):
        return "sysv"
    return "anonymous"


def mounts_of(tid: int) -> dict[Device, str]:
    """Return the types of the file systems that a process sees mounted, by their devices.

    A mapping keeps its file system alive, and as long its device's number is no other's.
    """
    found: dict[Device, str] = {}
    with contextlib.suppress(OSError):
        text = proc.read(f"/proc/{tid}/mountinfo")
        for line in proc.lines(text):
            before, _, after = line.partition(" - ")
            major, minor = before.split()[2].split(":")
            found[int(major), int(minor)] = after.split()[0]
    return found


@functools.cache
def own_device(*, huge: bool = False) -> Device | None:
    """Return the device of the kernel's own shared memory, found by a file of ours there.

    Anonymous shared memory, memory files and SysV segments are all on it; ``huge`` asks for that
    of huge pages, None where the kernel has none. The kernel never unmounts either.
    """
    try:
        descriptor = os.memfd_create("tidemark-device", _MFD_HUGETLB if huge else 0)
    except OSError:
        return None
    device = os.fstat(descriptor).st_dev
    os.close(descriptor)
    return os.major(device), os.minor(device)
