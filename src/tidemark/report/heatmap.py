"""Heat maps: per region, pages along the axis, epochs downwards, and counts in every cell.

The bitmaps are read twice, first to find what to show and then to count, so that there is
one file's worth of them in memory at a time however many epochs there are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tidemark.errors import ImageError
from tidemark.report.axis import Axis, fit_axis
from tidemark.report.bitmaps import (
    CHUNK_BYTES,
    CHUNK_PAGES,
    difference,
    intersection,
    load_bitmaps,
    union,
)
from tidemark.report.settled import present_pages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tidemark.report.bitmaps import Chunks, RegionBits
    from tidemark.report.model import Epoch, Workload

Counts = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One epoch: pages per column that were written, unsettled, only used, and never either.

    Unsettled: the tracker could not vouch for the page, and the dump was full, so that there
    was nothing to compare it with. The four add up to the pages of the column.
    """

    epoch: int
    written: Counts
    unsettled: Counts
    used: Counts
    never: Counts


@dataclass(frozen=True)
class RegionMap:
    """The heat map of one region. A region that an epoch lacks has no row for it.

    ``notices``: why suspects that were compared are drawn as unsettled nevertheless.
    """

    number: int
    kind: str
    name: str
    page_size: int
    axis: Axis
    rows: tuple[Row, ...] = ()
    notices: tuple[str, ...] = ()


def heat_maps(results: Path, workload: Workload, page_size: int) -> tuple[RegionMap, ...]:
    """Return a heat map for each region of the workload that any epoch's bitmaps know."""
    names = {number: name for epoch in workload.epochs for number, name in epoch.names.items()}
    maps = {
        number: RegionMap(
            number=number,
            kind=bits.kind,
            name=names.get(number, ""),
            page_size=page_size,
            axis=fit_axis(bits.pages, bits.used),
        )
        for number, bits in sorted(_survey(results, workload).items())
    }
    for epoch, bits in _regions(results, workload):
        some = maps[bits.number]
        settled, notices = _settled(results, workload.name, epoch, bits)
        row = bin_region(bits, some.axis, epoch.number, settled)
        maps[bits.number] = replace(some, rows=(*some.rows, row), notices=(*some.notices, *notices))
    return tuple(maps.values())


def _survey(results: Path, workload: Workload) -> dict[int, RegionBits]:
    """Return each region at its greatest size, ``used`` being all that is of note in any epoch."""
    found: dict[int, RegionBits] = {}
    for _, bits in _regions(results, workload):
        before = found.get(bits.number, bits)
        seen = union(union(union(before.used, bits.used), bits.dirty), bits.suspect)
        found[bits.number] = replace(bits, pages=max(before.pages, bits.pages), used=seen)
    return found


def _regions(results: Path, workload: Workload) -> Iterator[tuple[Epoch, RegionBits]]:
    """Yield every region of every epoch whose bitmaps were readable when they were counted."""
    for epoch in workload.epochs:
        if epoch.bitmaps is not None:
            path = results / workload.name / f"e{epoch.number}" / "bitmap.pb"
            for bits in load_bitmaps(path, epoch.number):
                yield epoch, bits


def _settled(
    results: Path, name: str, epoch: Epoch, bits: RegionBits
) -> tuple[Chunks | None, tuple[str, ...]]:
    """Return the suspects that changed, None where they were not compared; and notices."""
    if not bits.suspect:
        return {}, ()
    manifest = epoch.manifest
    if manifest is None or bits.number not in {r.number for r in manifest.regions if not r.full}:
        return None, ()
    image = results / name / f"e{epoch.number}" / "image"
    path = image / f"pagemap-shmem-{bits.number}.img"
    try:
        present = present_pages(path, bits.pages, manifest.page_size)
    except ImageError as error:
        return None, (str(error).replace(f"{results}/", ""),)
    return intersection(bits.suspect, present), ()


def bin_region(bits: RegionBits, axis: Axis, epoch: int, settled: Chunks | None) -> Row:
    """Return the counts of one region in one epoch, per column of ``axis``."""
    written = union(bits.dirty, settled or {})
    unsettled = bits.suspect if settled is None else {}
    used = difference(difference(bits.used, written), unsettled)
    parts = [bin_counts(chunks, axis) for chunks in (written, unsettled, used)]
    room = [axis.column_pages(column) for column in axis.shown()]
    never = tuple(pages - sum(counts) for pages, *counts in zip(room, *parts, strict=True))
    return Row(epoch, parts[0], parts[1], parts[2], never)


def bin_counts(chunks: Chunks, axis: Axis) -> Counts:
    """Return the number of set bits per column of ``axis``, by chunk and not by page."""
    if axis.width >= CHUNK_PAGES:
        per_column = axis.width // CHUNK_PAGES
        sums: dict[int, int] = {}
        for index, bits in chunks.items():
            column = index // per_column
            sums[column] = sums.get(column, 0) + bits.bit_count()
        return tuple(sums.get(column, 0) for column in axis.shown())
    packed = {i: bits.to_bytes(CHUNK_BYTES, "little") for i, bits in chunks.items() if bits}
    return tuple(_count(packed, column * axis.width, axis.width) for column in axis.shown())


def _count(packed: dict[int, bytes], first: int, width: int) -> int:
    """Return the set bits of ``width`` pages from ``first`` on; they are within one chunk."""
    index, page = divmod(first, CHUNK_PAGES)
    if index not in packed:
        return 0
    some = int.from_bytes(packed[index][page // 8 : (page + width + 7) // 8], "little")
    return (some >> page % 8 & (1 << width) - 1).bit_count()
