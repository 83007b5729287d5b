"""Views and their intersections, against plain loops over addresses."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tidemark.keeper.region import BLOCK_PAGES, Region
from tidemark.keeper.views import View, common, difference
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE

REGIONS = [Region(n, ((0, 1), n, False, b""), "memfd", "", None) for n in (1, 2)]

Shown = dict[int, tuple[int, int]]


@st.composite
def spaces(draw: st.DrawFn) -> list[View]:
    """Draw views of one address space: none overlaps another."""
    views, address = [], 1
    for _ in range(draw(st.integers(0, 5))):
        address += draw(st.integers(0, 4))
        length = draw(st.integers(1, 6))
        page = address if draw(st.booleans()) else draw(st.integers(0, 30))
        region = draw(st.sampled_from(REGIONS))
        views.append(View(address * PAGE_SIZE, (address + length) * PAGE_SIZE, page, region))
        address += length
    return views


def shown(views: list[View]) -> Shown:
    """Return what stands at each address, in pages: the region and its page."""
    return {
        view.start // PAGE_SIZE + i: (view.region.number, view.page + i)
        for view in views
        for i in range(view.count)
    }


@given(spaces(), spaces())
def test_common_and_difference_part_the_views(views: list[View], others: list[View]) -> None:
    ours, theirs = shown(views), shown(others)
    same = {address: page for address, page in ours.items() if theirs.get(address) == page}
    assert shown(common(views, others)) == same
    assert shown(difference(views, others)) == {a: p for a, p in ours.items() if a not in same}


@given(spaces(), st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), max_size=4))
def test_pages_of_a_view_are_found_at_their_addresses(
    views: list[View], runs: list[tuple[int, int]]
) -> None:
    wanted = {page for first, count in runs for page in range(first, first + count)}
    for view in views:
        found: set[int] = set()
        for part in view.pages(runs):
            assert view.shows_the_same(part)
            found |= set(range(part.page, part.page + part.count))
        assert found == wanted & set(range(view.page, view.page + view.count))


@given(
    st.integers(1, 70_000).flatmap(
        lambda pages: st.tuples(st.just(pages), st.sets(st.integers(0, pages - 1), max_size=30))
    )
)
def test_blocks_are_whole_and_hold_all_the_data(drawn: tuple[int, set[int]]) -> None:
    pages, data = drawn
    found = list(Bitmap(pages, ((page, 1) for page in data)).blocks(BLOCK_PAGES))
    covered = {page for first, count in found for page in range(first, first + count)}
    assert covered == {
        page
        for block in {page // BLOCK_PAGES for page in data}
        for page in range(block * BLOCK_PAGES, min((block + 1) * BLOCK_PAGES, pages))
    }
    assert all(sum(before) < after[0] for before, after in itertools.pairwise(found))
