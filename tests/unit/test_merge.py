"""Merging scans: against sets of pages, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.native.bitmap import Bitmap
from tidemark.proto import tracking_pb2 as pb
from tidemark.steps.bitmaps import get_bitmap
from tidemark.steps.merge import merge_scan

PAGES = 300


def runs(pages: set[int]) -> list[int]:
    """Return a set of pages as a flat run list."""
    bitmap = Bitmap(PAGES)
    for page in pages:
        bitmap.set(page)
    return [number for run in bitmap.runs() for number in run]


def pages_of(bitmap: pb.Bitmap) -> set[int]:
    """Return a bitmap message as a set of pages."""
    found = get_bitmap(bitmap).runs()
    return {page for first, count in found for page in range(first, first + count)}


some = st.sets(st.integers(0, PAGES - 1), max_size=60)


@st.composite
def mappings(draw: st.DrawFn) -> tuple[int, int, set[int], set[int]]:
    """Draw a mapping: page offset, length, written and present pages within them."""
    first = draw(st.integers(0, PAGES - 1))
    count = draw(st.integers(1, PAGES - first))
    within = st.sets(st.integers(first, first + count - 1), max_size=40)
    return first, count, draw(within), draw(within)


@given(
    data=some,
    zero=some,
    born=some,
    holes=some,
    ended=some,
    suspects=st.dictionaries(st.sampled_from(["exec", "touched", "unmapped"]), some),
    mapped=st.lists(mappings(), max_size=4),
)
def test_the_bitmaps_are_what_sets_of_pages_give(  # noqa: PLR0913, PLR0917 - each is one part of a scan
    data: set[int],
    zero: set[int],
    born: set[int],
    holes: set[int],
    ended: set[int],
    suspects: dict[str, set[int]],
    mapped: list[tuple[int, int, set[int], set[int]]],
) -> None:
    scan = pb.Scan(schema=1, workload="w", epoch=3, page_size=4096, tracker="t")
    region = scan.regions.add(number=1, kind="memfd", pages=PAGES, known=True)
    for name, pages in (("data", data), ("zero", zero), ("born", born), ("holes", holes)):
        getattr(region, name).extend(runs(pages))
    region.ended.extend(runs(ended))
    for reason, pages in suspects.items():
        region.suspicions.add(reason=reason, runs=runs(pages))
    for process, (first, count, written, present) in enumerate(mapped):
        mapping = scan.mappings.add(process=process, region=1, page=first, count=count)
        mapping.written.extend(runs(written))
        mapping.present.extend(runs(present))

    (merged,) = merge_scan(scan).regions

    dirty = ended | born | holes | {page for _, _, written, _ in mapped for page in written}
    used = (data | {page for _, _, _, present in mapped for page in present}) - zero
    suspect = {page for pages in suspects.values() for page in pages} - dirty
    assert pages_of(merged.used) == used
    assert pages_of(merged.dirty) == dirty
    assert pages_of(merged.suspect) == suspect
    counts = (merged.used_count, merged.dirty_count, merged.suspect_count)
    assert counts == (len(used), len(dirty), len(suspect))
    by_reason = {entry.reason: entry.pages for entry in merged.suspects_by_reason}
    assert by_reason == {reason: len(pages - dirty) for reason, pages in suspects.items()}


def scan_with(**mapping: int) -> pb.Scan:
    """Return a scan of one mapping of a region of 100 pages."""
    scan = pb.Scan(schema=1)
    scan.regions.add(number=1, pages=100)
    scan.mappings.add(process=0, region=1, **mapping)
    return scan


@pytest.mark.parametrize("run", [[9, 1], [15, 6], [9, 12]])
def test_a_page_that_a_mapping_does_not_show_is_not_believed(run: list[int]) -> None:
    scan = scan_with(page=10, count=10)
    scan.mappings[0].written.extend(run)
    with pytest.raises(IndexError, match="which it does not show"):
        merge_scan(scan)


def test_a_page_beyond_the_region_is_not_believed() -> None:
    scan = scan_with(page=90, count=20)
    scan.mappings[0].written.extend([99, 2])
    with pytest.raises(IndexError, match="beyond the end"):
        merge_scan(scan)


def test_two_views_of_one_page_count_once() -> None:
    scan = scan_with(page=0, count=50)
    scan.mappings.add(process=0, region=1, page=20, count=50)
    for mapping in scan.mappings:
        mapping.written.extend([30, 5])
    (merged,) = merge_scan(scan).regions
    assert merged.dirty_count == 5
