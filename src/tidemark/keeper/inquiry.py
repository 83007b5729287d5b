"""What the mappings of a process show: asked of the objects, or found out in other ways."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING

from tidemark.keeper.natures import (
    HUGE,
    MEMORY,
    is_memory,
    kind_of_other,
    kind_of_own,
    length_of,
    mounts_of,
    own_device,
)
from tidemark.keeper.objects import Mapping
from tidemark.native.identity import Object, object_of
from tidemark.native.library import PAGE_SIZE, NativeError
from tidemark.native.process import open_files
from tidemark.unsaved import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidemark.keeper.objects import Device
    from tidemark.native.maps import RawMapping


class Inquiry:
    """Finds out about the mappings of one process.

    :param tid: a thread of it that has not ended
    :param takes: whether the tracker takes a mapping, as it does of shared memory alone
    :param by_links: whether links can be followed; else no object's handle can be had of all of its
        mappings, and so it is of none
    """

    def __init__(self, tid: int, takes: Callable[[RawMapping], bool], *, by_links: bool) -> None:
        self._tid = tid
        self._takes = takes
        self._by_links = by_links

    def tell(self, raw: RawMapping, found: Object | None) -> Mapping:
        """Return what a mapping shows, of the kind ``UNKNOWN`` where nobody can tell.

        :param found: what its object says of itself; None where it cannot be asked by its link
        """
        if raw.device == own_device():
            kind = kind_of_own(raw.name)
            apart = found.handle if found else b""
            return Mapping.of(raw, kind, apart or (self._namespace if kind == "sysv" else b""))
        found = found or self._object(raw)
        if found is not None and is_memory(found.mode, found.file_system):
            kind = MEMORY
        else:
            kind = self._kind(raw, found)
        apart = found.handle if found and self._by_links else b""
        length = length_of(kind, found.size) if found else None
        return Mapping.of(raw, "posix" if kind == MEMORY else kind, apart, length)

    def _kind(self, raw: RawMapping, found: Object | None) -> str:
        """Return the kind of an object that does not say itself that it is shared memory."""
        kind = kind_of_other(raw, found.mode if found else 0, self._mounts.get(raw.device))
        if kind != "device" and (raw.device == own_device(huge=True) or raw.page_size > PAGE_SIZE):
            return HUGE
        if kind is None and found is not None and found.handle:
            return "file"  # a tmpfs would have given another handle
        if kind is None and self._takes(raw):
            return MEMORY
        return kind or UNKNOWN

    def _object(self, raw: RawMapping) -> Object | None:
        """Return the object by a descriptor of the process, or by its name.

        A name is looked up only in a tmpfs: another file system may be served by a process that
        stands, and we would wait for it for ever.
        """
        number = self._descriptors.get((raw.device, raw.inode))
        if number is not None:
            return _object_at(f"/proc/{self._tid}/fd/{number}", raw)
        if self._mounts.get(raw.device) in {"tmpfs", "devtmpfs"}:
            return _object_at(f"/proc/{self._tid}/root{raw.name}", raw)
        return None

    @functools.cached_property
    def _namespace(self) -> bytes:
        """What sets segments apart where their objects do not: the IPC namespace.

        One that is taken along to another namespace counts as two regions; both are settled by
        content, since a segment that cannot be opened is never vouched for.
        """
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/{self._tid}/ns/ipc").encode()  # noqa: PTH115 - quicker
        return b""

    @functools.cached_property
    def _descriptors(self) -> dict[tuple[Device, int], int]:
        return {(file.device, file.inode): file.number for file in open_files(self._tid)}

    @functools.cached_property
    def _mounts(self) -> dict[Device, str]:
        return mounts_of(self._tid)


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
