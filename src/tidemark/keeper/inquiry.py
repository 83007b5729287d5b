"""What mappings show, for who may not follow their links in map_files: an ordinary user."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.keeper.natures import HUGE, MEMORY, kind_of, kind_of_own, length_of, own_device
from tidemark.keeper.objects import Mapping
from tidemark.native.identity import Object, object_of
from tidemark.native.library import PAGE_SIZE, NativeError
from tidemark.native.process import open_files
from tidemark.unsaved import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidemark.keeper.objects import Device
    from tidemark.native.maps import RawMapping

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


class Inquiry:
    """Asks about the mappings of one process, by whatever shows the same object.

    :param tid: a thread of it that has not ended
    :param takes: whether the tracker takes a mapping, as it does of shared memory alone
    """

    def __init__(self, tid: int, takes: Callable[[RawMapping], bool]) -> None:
        self._tid = tid
        self._takes = takes

    def tell(self, raw: RawMapping) -> Mapping:
        """Return what a mapping shows, of the kind ``UNKNOWN`` where nobody can tell."""
        if raw.device == own_device():
            kind = kind_of_own(raw.name)
            return Mapping.of(raw, kind, namespace_of(self._tid) if kind == "sysv" else b"")
        if raw.device == own_device(huge=True):
            return Mapping.of(raw, HUGE)
        found = self._by_descriptor(raw) or _object_at(f"/proc/{self._tid}/root{raw.name}", raw)
        if found is not None:
            kind = kind_of(found.mode, found.file_system)
            length = length_of(kind, found.size)
        else:
            kind, length = self._by_mount(raw) or self._by_tracker(raw), None
        return Mapping.of(raw, "posix" if kind == MEMORY else kind, b"", length)

    def _by_descriptor(self, raw: RawMapping) -> Object | None:
        number = self._descriptors.get((raw.device, raw.inode))
        return None if number is None else _object_at(f"/proc/{self._tid}/fd/{number}", raw)

    def _by_mount(self, raw: RawMapping) -> str | None:
        """Return the kind by the type of the file system, if the process sees that mounted.

        The mapping keeps the file system alive, and as long its device's number is no other's.
        """
        mounted = self._mounts.get(raw.device)
        return None if mounted is None else _MOUNTED.get(mounted, "file")

    def _by_tracker(self, raw: RawMapping) -> str:
        if self._takes(raw):
            return HUGE if raw.page_size > PAGE_SIZE else MEMORY
        made = (k for name, k in _MADE_BY_THE_KERNEL.items() if raw.name.startswith(name))
        return next(made, UNKNOWN)

    @functools.cached_property
    def _descriptors(self) -> dict[tuple[Device, int], int]:
        return {(file.device, file.inode): file.number for file in open_files(self._tid)}

    @functools.cached_property
    def _mounts(self) -> dict[Device, str]:
        found: dict[Device, str] = {}
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{self._tid}/mountinfo").read_text(errors="replace")
            for line in text.splitlines():
                before, _, after = line.partition(" - ")
                major, minor = before.split()[2].split(":")
                found[int(major), int(minor)] = after.split()[0]
        return found


def namespace_of(tid: int) -> bytes:
    """Return what sets segments apart where their objects do not: the IPC namespace.

    One that is taken along to another namespace counts as two regions; both are settled by content,
    since a segment that cannot be opened is never vouched for.
    """
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{tid}/ns/ipc").encode()  # noqa: PTH115 - quicker
    return b""


def _object_at(path: str, raw: RawMapping) -> Object | None:
    """Return what is at a path, if it is the object that a mapping shows."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        found = object_of(descriptor)
    except NativeError:
        return None
    finally:
        os.close(descriptor)
    return found if (found.device, found.inode) == (raw.device, raw.inode) else None
