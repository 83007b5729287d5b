"""What an object is, by what stat(2), statfs(2) and the kernel's own device say of it."""

from __future__ import annotations

import functools
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidemark.keeper.objects import Device

HUGE = "huge"
MEMORY = "memory"

_MFD_HUGETLB = 4
_FILE_SYSTEMS = {
    0x01021994: MEMORY,  # tmpfs, devtmpfs, and the kernel's own
    0x958458F6: HUGE,  # hugetlbfs
    0x858458F6: "ramfs file",
    0x5345434D: "secret memory",
    0x444D4142: "dma-buf",
    0x09041934: "kernel object",  # anonymous inodes: rings of io_uring, perf, KVM
    0x474D454D: "kernel object",  # guest_memfd
    0xA10A10A1: "kernel object",  # rings of io_setup(2)
}
_SIZED = {MEMORY, "file", "ramfs file", "secret memory"}


def kind_of(mode: int, file_system: int) -> str:
    """Return what an object is, by its mode and the type (``f_type``) of its file system."""
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "device"
    if stat.S_ISSOCK(mode):
        return "socket"
    return _FILE_SYSTEMS.get(file_system, "file")


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
