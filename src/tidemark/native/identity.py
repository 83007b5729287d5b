"""What stands behind mappings and descriptors, as the object itself says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tidemark.native.library import check, ffi, lib, new_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tidemark.native.space import Span


class Object(NamedTuple):
    """One file, of whatever kind: statx(2), fstatfs(2) and name_to_handle_at(2) of it.

    ``size`` is in bytes, ``file_system`` the magic number of its type, which is asked only where it
    may be a tmpfs: another might be served by a process that stands. ``handle`` holds inode and
    generation, so that it is no other object's; it is empty where the file system has none.
    """

    device: tuple[int, int]
    inode: int
    size: int
    mode: int
    file_system: int
    handle: bytes


def object_of(fd: int) -> Object:
    """Return what a descriptor shows, which may be one of O_PATH."""
    error = new_error()
    raw = ffi.new("struct tm_object *")
    check(lib.tm_object_ask(fd, raw, error), error)
    return _object(raw)


def mapped_objects(tid: int, spans: Sequence[Span]) -> list[Object | None]:
    """Return what each of the mappings ``spans`` of thread ``tid``'s process shows.

    None stands for one that may not be asked (which takes CAP_CHECKPOINT_RESTORE), or is gone.

    :raises ProcessGoneError: when the thread has ended
    """
    error = new_error()
    raw = ffi.new("struct tm_object[]", len(spans))
    array = ffi.new("struct tm_span[]", list(spans))
    check(lib.tm_objects_mapped(tid, array, len(spans), raw, error), error)
    return [None if each.sys_errno else _object(each) for each in raw]


def _object(raw: Any) -> Object:
    return Object(
        device=(raw.device_major, raw.device_minor),
        inode=raw.inode,
        size=raw.size,
        mode=raw.mode,
        file_system=raw.file_system,
        handle=bytes(ffi.buffer(raw.handle, raw.handle_bytes)),
    )
