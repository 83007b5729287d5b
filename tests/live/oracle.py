"""What a frozen workload's memory holds, and which pages differ between two moments.

It reads with mmap(2) and lseek(2) alone and compares bytes: nothing of Tidemark's has a part
in it but the descriptors that the keeper hands out.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from system import PAGE, data_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

Content = dict[int, bytes]
"""The pages that are not all zero."""

_ZERO = bytes(PAGE)


def contents(answer: dict[str, Any], descriptors: list[int]) -> dict[int, Content]:
    """Return the content of each region, by number, from the keeper's answer to ``open``."""
    found: dict[int, Content] = {}
    for region in answer["regions"]:
        content: Content = {}
        for page, count, offset, place in region["dump"]:
            for at, data in _pages(descriptors[place], page, count, offset):
                if data != _ZERO:
                    content[at] = data
        found[region["number"]] = content
    return found


def changed(before: Content, now: Content) -> set[int]:
    """Return the pages whose bytes are not the same."""
    return {page for page in before.keys() | now.keys() if before.get(page) != now.get(page)}


def _pages(descriptor: int, page: int, count: int, offset: int) -> Iterator[tuple[int, bytes]]:
    if str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("/proc/"):
        for index in range(count):
            yield page + index, os.pread(descriptor, PAGE, offset + index * PAGE)
        return
    if os.fstat(descriptor).st_size == 0:
        return
    with mmap.mmap(descriptor, 0, mmap.MAP_SHARED, mmap.PROT_READ) as view:
        for start, end in data_runs(descriptor):
            for at in range(max(start, offset), min(end, offset + count * PAGE), PAGE):
                yield page + (at - offset) // PAGE, view[at : at + PAGE].ljust(PAGE, b"\0")
