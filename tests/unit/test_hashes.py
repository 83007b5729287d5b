"""Hashes of pages: cut, compared, and kept as JSON."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE
from tidemark.native.pages import HASH_BYTES, Source
from tidemark.steps.hashes import PageHashes

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = 60
Model = dict[int, int]

models = st.dictionaries(st.integers(0, PAGES - 1), st.integers(1, 3), max_size=30)
run_lists = st.lists(st.tuples(st.integers(0, PAGES), st.integers(0, 20)), max_size=3)


def hashes(model: Model) -> PageHashes:
    """Return hashes where the hash of a page is its value."""
    pages = Bitmap(PAGES, ((page, 1) for page in model))
    return PageHashes(pages, b"".join(bytes([model[p]]) * HASH_BYTES for p in sorted(model)))


@given(models, models)
def test_pages_differ_where_the_models_do(ours: Model, theirs: Model) -> None:
    differing = hashes(ours).differing(hashes(theirs))
    expected = {page for page in range(PAGES) if ours.get(page) != theirs.get(page)}
    assert {page for page in range(PAGES) if page in differing} == expected


@given(models, run_lists)
def test_a_part_keeps_the_hashes_of_its_pages(model: Model, runs: list[tuple[int, int]]) -> None:
    within = {page for first, count in runs for page in range(first, first + count)}
    part = hashes(model).within(runs)
    expected = hashes({page: value for page, value in model.items() if page in within})
    assert (part.pages, part.packed) == (expected.pages, expected.packed)


@given(models)
def test_json_keeps_all_of_it(model: Model) -> None:
    again = PageHashes.from_json(hashes(model).to_json())
    assert (again.pages, again.packed) == (hashes(model).pages, hashes(model).packed)
    assert again.pages.pages == PAGES


def test_json_with_too_few_hashes_is_refused() -> None:
    value = hashes({1: 1, 2: 2}).to_json() | {"hashes": ""}
    with pytest.raises(ValueError, match="0 bytes of hashes for 2 pages"):
        PageHashes.from_json(value)


@pytest.fixture
def memory() -> Iterator[int]:
    """Give an empty memory file of some pages."""
    descriptor = os.memfd_create("hashes")
    os.ftruncate(descriptor, PAGES * PAGE_SIZE)
    yield descriptor
    os.close(descriptor)


def test_zero_pages_have_no_hash(memory: int) -> None:
    os.pwrite(memory, b"\1", 3 * PAGE_SIZE + 4095)
    os.pwrite(memory, b"\0" * PAGE_SIZE, 5 * PAGE_SIZE)
    found = PageHashes.of(Source.file(memory, PAGES), Bitmap(PAGES, [(0, PAGES)]))
    assert list(found.pages.runs()) == [(3, 1)]
    assert len(found.packed) == HASH_BYTES
