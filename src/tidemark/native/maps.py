"""The shared mappings of a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tidemark.native.library import check, ffi, lib, new_error


@dataclass(frozen=True, slots=True)
class RawMapping:
    """One MAP_SHARED file mapping, as the kernel lists it; addresses, offset, sizes in bytes.

    ``page_size`` is that of its page table, 0 where the kernel does not tell; a name may be cut.
    """

    start: int
    end: int
    offset: int
    device: tuple[int, int]
    inode: int
    protection: int
    name: str
    page_size: int = 0


def shared_mappings(tid: int) -> list[RawMapping]:
    """Return the MAP_SHARED mappings of the process that thread ``tid`` is of, ascending.

    :raises ProcessGoneError: when it has ended
    :raises ForbiddenError: when its mappings may not be read
    """
    capacity = 64
    count = ffi.new("size_t *")
    error = new_error()
    while True:
        listed = ffi.new(f"struct tm_mapping[{capacity}]")
        check(lib.tm_maps_shared(tid, capacity, listed, count, error), error)
        if count[0] <= capacity:
            return [_mapping(listed[i]) for i in range(count[0])]
        capacity = count[0] + 16


def _mapping(raw: Any) -> RawMapping:
    return RawMapping(
        start=raw.start,
        end=raw.end,
        offset=raw.offset,
        device=(raw.device_major, raw.device_minor),
        inode=raw.inode,
        protection=raw.protection,
        name=ffi.string(raw.name).decode(errors="backslashreplace"),
        page_size=raw.page_size,
    )
