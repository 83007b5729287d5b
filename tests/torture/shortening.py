"""The shortest sequence of operations that still loses a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from staging import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from operations import Operation

    Loses = Callable[[Sequence[Operation]], bool]


def shorten(sequence: Sequence[Operation], loses: Loses) -> list[Operation]:
    """Return a sequence that still loses a page, and does not without any one of its operations.

    Zeller and Hildebrandt's delta debugging (ddmin): ever smaller parts are left out.
    """
    kept, size = list(sequence), len(sequence) // 2
    while size:
        start, shorter = 0, False
        while start < len(kept):
            without = kept[:start] + kept[start + size :]
            if loses(without):
                kept, shorter = without, True
            else:
                start += size
        if size == 1 and not shorter:
            break
        size = size if shorter and size == 1 else max(1, size // 2)
    return kept


def until_lost(sequence: Sequence[Operation], loses: Loses) -> list[Operation]:
    """Return the epochs up to the one that loses a page."""
    ends = [place for place, operation in enumerate(sequence) if operation == EPOCH]
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high) // 2
        if loses(sequence[: ends[middle]]):
            high = middle
        else:
            low = middle + 1
    return list(sequence[: ends[low]] if low < len(ends) else sequence)
