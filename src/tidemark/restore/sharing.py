"""Which mappings of a region can show each other's stores."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING

from tidemark.restore.layout import READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tidemark.restore.layout import LaidMapping


class _Writers:
    """The mappings of one process through which a word can be read, stored, and put back."""

    def __init__(self, mappings: Sequence[LaidMapping]) -> None:
        ordered = sorted(mappings, key=lambda mapping: mapping.page)
        self._pages = [mapping.page for mapping in ordered]
        # Of those up to each, the one that goes on the furthest.
        self._longest = list(accumulate(ordered, _longer))

    def meets(self, reader: LaidMapping, end: int) -> LaidMapping | None:
        """Return a mapping that shows some page of ``reader``'s before ``end``, if there is one."""
        before = bisect_left(self._pages, min(end, _end(reader)))
        longest = self._longest[before - 1] if before else None
        return longest if longest and _end(longest) > reader.page else None


def _longer(one: LaidMapping, other: LaidMapping) -> LaidMapping:
    return one if _end(one) >= _end(other) else other


def _end(mapping: LaidMapping) -> int:
    return mapping.page + mapping.count


def pairs(
    mappings: Sequence[LaidMapping], pages: int
) -> Iterator[tuple[LaidMapping, LaidMapping, int]]:
    """Yield, for each mapping, one of another process that can show it a store, and a page.

    The time is proportional to mappings times processes: a program may have 65,530 mappings.

    :param pages: of the region; a mapping may go on beyond its end, where nobody can store
    """
    stores: dict[int, list[LaidMapping]] = defaultdict(list)
    for mapping in mappings:
        if mapping.protection & READ and mapping.protection & WRITE:
            stores[mapping.process].append(mapping)
    writers = {process: _Writers(own) for process, own in stores.items()}
    for reader in mappings:
        if reader.protection & READ and (found := _of_another(writers, reader, pages)):
            yield found, reader, max(found.page, reader.page)


def _of_another(
    writers: dict[int, _Writers], reader: LaidMapping, pages: int
) -> LaidMapping | None:
    if reader.page >= pages:
        return None
    found = (own.meets(reader, pages) for who, own in writers.items() if who != reader.process)
    return next(filter(None, found), None)
