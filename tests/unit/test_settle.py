"""What is dumped of a region: what a tracker says is not believed beyond what it can know."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from image_fixture import Content, page_of, pages_of, write

from tidemark.image.chain import Chain
from tidemark.native.library import PAGE_SIZE
from tidemark.native.pages import Source
from tidemark.proto import tracking_pb2 as pb
from tidemark.steps.bitmaps import put_bitmap
from tidemark.steps.settle import settle
from tidemark.workload import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LENGTH = 16


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = os.memfd_create("memory")
    os.ftruncate(descriptor, LENGTH * PAGE_SIZE)
    yield descriptor
    os.close(descriptor)


def test_a_page_that_is_called_clean_and_that_the_parent_lacks_is_dumped(
    tmp_path: Path, memory: int
) -> None:
    write(tmp_path / "parent", {1: Content({0: 1}, length=LENGTH)})
    os.pwrite(memory, page_of(1), 0)
    os.pwrite(memory, page_of(9), 5 * PAGE_SIZE)  # of this no write was seen
    region = pb.RegionBitmaps(number=1, kind="anonymous", pages=LENGTH, known=True)
    put_bitmap(pages_of([0, 5, 7], LENGTH), region.used)
    for bitmap in (region.dirty, region.suspect):
        put_bitmap(pages_of([], LENGTH), bitmap)
    with Chain(tmp_path / "parent") as chain:
        dumped = settle(region, Source.file(memory, LENGTH), chain, Policy(), 1)
    assert list(dumped.present.runs()) == [(5, 1)]
    assert list(dumped.in_parent.runs()) == [(0, 1)]
