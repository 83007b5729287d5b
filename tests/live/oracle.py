"""What a frozen workload's memory holds, and which pages differ between two moments.

It finds by itself what is mapped (:mod:`census`), reads by mmap(2) and lseek(2), and compares
bytes: nothing of Tidemark's has a part in it but the descriptors that the keeper hands out.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from census import census, key_of, page_of
from system import PAGE, data_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

Content = dict[int, bytes]
"""The pages that are not all zero."""

_ZERO = bytes(PAGE)


@dataclass(frozen=True)
class Found:
    """The content of each region, by number, and the names of what is in no region."""

    contents: dict[int, Content]
    left_out: list[str]


def look(
    answer: dict[str, Any], descriptors: list[int], tracer: int, *, only_shown: bool = False
) -> Found:
    """Return what the processes hold that ``tracer`` traces.

    :param only_shown: of an object that is held by nobody, what is mapped: an ordinary user's
        keeper can reach no more


    The list of it is our own. The keeper's answer to ``open`` only says which region stands where,
    and gives descriptors: to open an object anew would look as if somebody had touched it.
    """
    numbers = {pid: number for number, pid in answer["pids"]}
    regions = {(m["process"], m["start"]): m["region"] for m in answer["layout"]["mappings"]}
    held = {key_of(one): one for one in descriptors if _is_object(one)}
    found = Found({}, [])
    for key, shared in sorted(census(tracer).items()):
        places = {(numbers.get(pid), start) for pid, start in shared.places}
        known = {regions[place] for place in places if place in regions} - found.contents.keys()
        if not known:
            found.left_out.append(shared.name)
        for number in known:
            content = _content(held.get(key), shared.link)
            if only_shown and key not in held:
                content = {p: data for p, data in content.items() if _is_shown(p, shared.shown)}
            found.contents[number] = content
    return found


def _is_shown(page: int, shown: list[range]) -> bool:
    return any(page in pages for pages in shown)


def _is_object(descriptor: int) -> bool:
    return not str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("/proc/")


def _content(held: int | None, link: str) -> Content:
    if held is not None:
        return dict(_pages(held))
    descriptor = os.open(link, os.O_RDONLY | os.O_NOATIME)
    try:
        return dict(_pages(descriptor))
    finally:
        os.close(descriptor)


def changed(before: Content, now: Content) -> set[int]:
    """Return the pages whose bytes are not the same."""
    return {page for page in before.keys() | now.keys() if before.get(page) != now.get(page)}


def _pages(descriptor: int) -> Iterator[tuple[int, bytes]]:
    size = os.fstat(descriptor).st_size
    if size == 0:
        return
    with mmap.mmap(descriptor, 0, mmap.MAP_SHARED, mmap.PROT_READ) as view:
        for start, end in data_runs(descriptor):
            for at in range(start - start % PAGE, end, PAGE):
                data = view[at : at + PAGE]
                data = data if len(data) == PAGE else page_of(descriptor, at)
                if data != _ZERO:
                    yield at // PAGE, data
