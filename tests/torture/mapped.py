"""What a group's processes map, found without any code of Tidemark's, and what it holds.

Objects are reached by the links of mappings in /proc, which need neither a name nor a mount. What
was opened once is kept open: to open it again would leave a trace, and the next epoch's evidence
would be ours.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Self

from system import PAGE, data_runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Content = dict[int, bytes]
"""The pages that are not all zero."""

_TMPFS = 0x01021994
_ZERO = bytes(PAGE)
_libc = ctypes.CDLL(None, use_errno=True)

_Key = tuple[int, int, str]
"""Device, inode, and for a SysV segment the namespace in which its id counts."""


class Mapped:
    """The shared-memory objects of some processes."""

    def __init__(self) -> None:
        self._opened: dict[_Key, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._opened.values():
            os.close(descriptor)
        self._opened.clear()

    def contents(self, pids: Iterable[int]) -> list[Content]:
        """Return what each object holds that one of the processes maps. They should stand.

        :raises PermissionError: where the links of mappings may not be opened
        """
        found: dict[_Key, None] = {}
        for pid in pids:
            for start, end, name in _shared_mappings(pid):
                path = f"/proc/{pid}/map_files/{start}-{end}"
                with contextlib.suppress(FileNotFoundError):
                    if key := self._open(pid, path, name):
                        found[key] = None
        for key in self._opened.keys() - found.keys():
            os.close(self._opened.pop(key))
        return [_content(self._opened[key]) for key in found]

    def _open(self, pid: int, path: str, name: str) -> _Key | None:
        """Open an object of shared memory that was not opened before; None for any other."""
        status = os.stat(path)  # noqa: PTH116 - a link that leads to what has no name
        if not stat.S_ISREG(status.st_mode):
            return None
        space = str(Path(f"/proc/{pid}/ns/ipc").readlink()) if name.startswith("/SYSV") else ""
        key = status.st_dev, status.st_ino, space
        if key not in self._opened:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOATIME | os.O_CLOEXEC)
            if not _is_shared_memory(descriptor):
                os.close(descriptor)
                return None
            self._opened[key] = descriptor
        return key


def _shared_mappings(pid: int) -> Iterator[tuple[str, str, str]]:
    """Yield where a process maps what it shares, and the name that is shown."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return
    for line in lines:
        where, protection, _, _, _, *name = line.split(None, 5)
        if protection[3] == "s":
            start, _, end = where.partition("-")
            # The links have no leading zeros.
            yield f"{int(start, 16):x}", f"{int(end, 16):x}", name[0] if name else ""


def _is_shared_memory(descriptor: int) -> bool:
    buffer = ctypes.create_string_buffer(256)
    _libc.fstatfs(descriptor, buffer)
    return bool(struct.unpack_from("l", buffer.raw)[0] == _TMPFS)


def _content(descriptor: int) -> Content:
    content: Content = {}
    size = os.fstat(descriptor).st_size
    if size == 0:
        return content
    with mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ) as view:
        for start, end in data_runs(descriptor):
            for at in range(start // PAGE * PAGE, min(end, size), PAGE):
                page = view[at : at + PAGE].ljust(PAGE, b"\0")
                if page != _ZERO:
                    content[at // PAGE] = page
    return content


def unmatched(live: list[Content], saved: list[Content]) -> list[tuple[set[int], bool]]:
    """Return, of each live object that no saved region is like, the pages that are not the same.

    The second is whether there is no region that it could be at all. What is all zero need not
    have been saved.
    """
    left = [content for content in saved if content]
    missing = []
    for content in filter(None, live):
        if content in left:
            left.remove(content)
        else:
            missing.append(content)
    found = []
    for content in missing:
        nearest = min(left, key=lambda other: len(_differing(content, other)), default=None)
        if nearest is None:
            found.append((set(content), True))
        else:
            left.remove(nearest)
            found.append((_differing(content, nearest), False))
    return found + [(set(content), True) for content in left]


def _differing(content: Content, other: Content) -> set[int]:
    return {page for page in content.keys() | other.keys() if content.get(page) != other.get(page)}
