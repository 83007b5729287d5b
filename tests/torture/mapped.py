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
from dataclasses import dataclass, replace
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
    """What a shared-memory object holds, and its length in bytes.

    ``shown``: the pages that a process maps, where no others can be saved.
    """

    content: Content
    size: int
    shown: frozenset[int] | None = None

    def visible(self) -> set[int]:
        """Return the pages that are not all zero, and that could be saved."""
        return set(self.content) if self.shown is None else set(self.content) & self.shown

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
        if self.shown is not None:
            pages &= self.shown
        return {page for page in pages if self.content.get(page) != saved.get(page)}


def _without(content: Content, page: int) -> Content:
    return {number: data for number, data in content.items() if number != page}


class Mapped:
    """The shared-memory objects of some processes.

    :param only_shown: what nobody maps of an object cannot be saved: an ordinary user's keeper may
        not open it
    """

    def __init__(self, *, only_shown: bool = False) -> None:
        self._only_shown = only_shown
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
        found: dict[Key, set[int]] = {}
        for pid in pids:
            for start, end, page in _shared_mappings(pid):
                path = f"/proc/{pid}/map_files/{start:x}-{end:x}"
                with contextlib.suppress(FileNotFoundError):
                    if key := self._open(path):
                        shown = range(page, page + (end - start) // PAGE)
                        found.setdefault(key, set()).update(shown)
        for key in self._opened.keys() - found.keys():
            os.close(self._opened.pop(key))
        objects = [(_object(self._opened[key]), frozenset(shown)) for key, shown in found.items()]
        if not self._only_shown:
            return [each for each, _ in objects]
        return [replace(each, shown=shown) for each, shown in objects]

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


def _shared_mappings(pid: int) -> Iterator[tuple[int, int, int]]:
    """Yield where a process maps what it shares, and from which page of that on."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return
    for line in lines:
        where, protection, offset, _ = line.split(None, 3)
        if protection[3] == "s":
            start, end = (int(address, 16) for address in where.split("-"))
            yield start, end, int(offset, 16) // PAGE


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
    # First those of which most is to be seen: little of one object may be like that of another.
    for each in sorted(live, key=lambda each: len(each.visible()), reverse=True):
        # Of a named object all may be saved, also where nothing that it holds is mapped.
        named = each.shown is not None and not each.visible()
        alike = each.content.__eq__ if named else each.is_as
        same = next((content for content in left if alike(content)), None)
        if same is not None:
            left.remove(same)
        elif each.visible():
            missing.append(each)
    found = []
    for each in missing:
        nearest = min(left, key=lambda content: len(each.differing(content)), default=None)
        if nearest is None:
            found.append((each.visible(), True))
        else:
            left.remove(nearest)
            found.append((each.differing(nearest), False))
    return found + [(set(content), True) for content in left]
