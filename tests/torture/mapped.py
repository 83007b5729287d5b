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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from census import Key, is_memory, key_of
from system import PAGE, data_runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Content = dict[int, bytes]
"""The pages that are not all zero."""

_TMPFS = 0x01021994
_ZERO = bytes(PAGE)
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Object:
    """What a shared-memory object holds, and its length in bytes."""

    content: Content
    size: int

    def is_as(self, saved: Content) -> bool:
        """Return whether that was saved of it."""
        return not self.differing(saved)

    def differing(self, saved: Content) -> set[int]:
        """Return the pages that are not as they were saved, up to its last byte.

        What stands behind that, in its last page, is no part of it.
        """
        last, length = divmod(self.size, PAGE)
        if length and last in saved:
            page = saved[last][:length].ljust(PAGE, b"\0")
            saved = {**saved, last: page} if page != _ZERO else _without(saved, last)
        pages = self.content.keys() | saved.keys()
        return {page for page in pages if self.content.get(page) != saved.get(page)}


def _without(content: Content, page: int) -> Content:
    return {number: data for number, data in content.items() if number != page}


class Mapped:
    """The shared-memory objects of some processes."""

    def __init__(self) -> None:
        self._opened: dict[Key, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._opened.values():
            os.close(descriptor)
        self._opened.clear()

    def objects(self, pids: Iterable[int]) -> list[Object]:
        """Return each object that one of the processes maps. They should stand.

        :raises PermissionError: where the links of mappings may not be opened
        """
        found: dict[Key, None] = {}
        for pid in pids:
            for start, end in _shared_mappings(pid):
                path = f"/proc/{pid}/map_files/{start}-{end}"
                with contextlib.suppress(FileNotFoundError):
                    if key := self._open(path):
                        found[key] = None
        for key in self._opened.keys() - found.keys():
            os.close(self._opened.pop(key))
        return [_object(self._opened[key]) for key in found]

    def _open(self, path: str) -> Key | None:
        """Open an object of shared memory that was not opened before; None for any other."""
        link = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not is_memory(link):
                return None
            key = key_of(link)
        finally:
            os.close(link)
        if key not in self._opened:
            self._opened[key] = os.open(path, os.O_RDONLY | os.O_NOATIME | os.O_CLOEXEC)
        return key


def _shared_mappings(pid: int) -> Iterator[tuple[str, str]]:
    """Yield where a process maps what it shares."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return
    for line in lines:
        where, protection, _ = line.split(None, 2)
        if protection[3] == "s":
            start, _, end = where.partition("-")
            # The links have no leading zeros.
            yield f"{int(start, 16):x}", f"{int(end, 16):x}"


def _object(descriptor: int) -> Object:
    content: Content = {}
    size = os.fstat(descriptor).st_size
    if size == 0:
        return Object(content, size)
    with mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ) as view:
        for start, end in data_runs(descriptor):
            for at in range(start // PAGE * PAGE, min(end, size), PAGE):
                page = view[at : at + PAGE].ljust(PAGE, b"\0")
                if page != _ZERO:
                    content[at // PAGE] = page
    return Object(content, size)


def unmatched(live: list[Object], saved: list[Content]) -> list[tuple[set[int], bool]]:
    """Return, of each live object that no saved region is like, the pages that are not the same.

    The second is whether there is no region that it could be at all. What is all zero need not
    have been saved.
    """
    left = [content for content in saved if content]
    missing = []
    for each in live:
        same = next((content for content in left if each.is_as(content)), None)
        if same is not None:
            left.remove(same)
        elif each.content:
            missing.append(each)
    found = []
    for each in missing:
        nearest = min(left, key=lambda content: len(each.differing(content)), default=None)
        if nearest is None:
            found.append((set(each.content), True))
        else:
            left.remove(nearest)
            found.append((each.differing(nearest), False))
    return found + [(set(content), True) for content in left]
