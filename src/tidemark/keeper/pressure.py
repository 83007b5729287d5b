"""Whether the kernel may have taken pages out of page tables, and their soft-dirty bits with them.

A page that is reclaimed or paged out (MADV_PAGEOUT), or a huge page that is split or put together,
loses its entry in the page table. A load brings back an entry that is clean, whatever was stored
before. The kernel counts what leads there, for the whole machine: so much as one count means that
no clean entry proves anything. See mm/vmscan.c, mm/huge_memory.c and mm/khugepaged.c.
"""

from __future__ import annotations

from pathlib import Path

_VMSTAT = Path("/proc/vmstat")
_EVENTS = (
    "pgscan_",  # looked at, to be reclaimed
    "pgsteal_",  # reclaimed
    "pgactivate",  # could not be paged out: taken from the tables all the same
    "pswpout",
    "zswpout",
    "swpout_zero",
    "thp_swpout",
    "thp_split_",
    "thp_collapse_alloc",
    "thp_file_alloc",
    "thp_file_mapped",
)


class Pressure:
    """Compares the kernel's counts of two moments."""

    def __init__(self) -> None:
        self._before: dict[str, str] | None = None

    def begin(self) -> None:
        """Take the counts as they are now."""
        self._before = _counts()

    def has_moved(self) -> bool:
        """Return whether any entry may have gone since; also where it cannot be told."""
        return self._before is None or self._before != _counts()


def _counts() -> dict[str, str] | None:
    try:
        lines = _VMSTAT.read_text().splitlines()
    except OSError:
        return None
    counts = (line.partition(" ") for line in lines if line.startswith(_EVENTS))
    return {name: count for name, _, count in counts}
