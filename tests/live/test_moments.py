"""A checkpoint is of one moment, though much of it is copied while the processes write."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest
from kept import PLENTY, Kept
from system import PAGE

from tidemark.checkpoint.copied import copied_by
from tidemark.checkpoint.series import Series
from tidemark.checkpoint.take import Taker
from tidemark.native.bitmap import Bitmap
from tidemark.steps.collect import scan_of
from tidemark.steps.merge import merge_scan

if TYPE_CHECKING:
    from pathlib import Path

    from actors import Actor, Window
    from stage import Stage

    from tidemark.keeper.client import Client

PAGES = 8192
MANY = 32768
ALL = Bitmap(MANY, [(0, MANY)])
ROOMS = [int(60 * 1.45**step) for step in range(10)]
"""Pages."""
BRISK, FRANTIC = 20, 0
"""Microseconds between two stores."""


@pytest.fixture
def kept(stage: Stage) -> Kept:
    kept = Kept(stage)
    leader, _ = kept.program()
    kept.stage.attach(leader)
    return kept


def stores_of(content: bytes) -> list[int]:
    """Return the number that stands at the beginning of each page."""
    return [struct.unpack_from("<q", content, at)[0] for at in range(0, len(content), PAGE)]


def stores_until(last: int) -> list[int]:
    """Return what the pages hold when ``last`` is the last number that was stored."""
    latest = [last - (last - 1 - page) % PAGES for page in range(PAGES)]
    return [max(number, 0) for number in latest]


def check_moments(kept: Kept, series: Series, first: int) -> None:
    """Hold the checkpoints from ``first`` on against what one page tells of all others."""
    last = 0
    for number in series.numbers()[first:]:
        stores = stores_of(waves_of(kept, series.image(number)))
        assert stores == stores_until(max(stores)), number
        assert max(stores) > last, "the writer went on"
        last = max(stores)


def waves_of(kept: Kept, image: Path) -> bytes:
    (content,) = (region for region in kept.restored(image) if len(region) == PAGES * PAGE)
    return content


@pytest.mark.parametrize("pause", [BRISK, FRANTIC], ids=["brisk", "frantic"])
def test_a_checkpoint_is_of_one_moment(kept: Kept, pause: int) -> None:
    ((leader, _),) = kept.windows
    window = leader.anonymous(PAGES)
    writer = leader.fork()
    with kept.stage.client() as client, Series(kept.directory) as series:
        taker = Taker(client, series, PLENTY)
        writer.begin("waves", window.address, PAGES, pause)
        full = [taker.take().full for _ in range(5)]
        writer.touch(window)  # the next message ends the waves
        check_moments(kept, series, 0)
    assert full == [True, False, False, False, False]


def test_a_checkpoint_is_of_one_moment_though_processes_come_and_go(kept: Kept) -> None:
    ((leader, _),) = kept.windows
    window, other = leader.anonymous(PAGES), leader.anonymous(PAGES // 2)
    writer, parent = leader.fork(), leader.fork()
    kept.take()
    with kept.stage.client() as client, Series(kept.directory) as series:
        taker = Taker(client, series, PLENTY)
        writer.begin("waves", window.address, PAGES, BRISK)
        for page in range(4):
            parent.fill(other)
            child = parent.fork()
            child.store(other, page)
            child.exit()
            taker.take()
            parent.reap(child)
        writer.touch(window)
        check_moments(kept, series, 1)


def test_a_checkpoint_is_of_one_moment_though_not_all_that_was_told_was_copied(
    kept: Kept,
) -> None:
    """All is copied, and what was written meanwhile is found to be more than there is room for.

    How much that is depends on the machine: so there is room for a few pages, and then for more.
    """
    ((leader, small),) = kept.windows
    window = leader.anonymous(MANY)
    writer = leader.fork()
    with kept.stage.client() as client:
        for room in ROOMS:
            leader.fill(window)
            writer.begin("waves", window.address, MANY, BRISK)
            stores = stores_of(copied(client, (MANY + small.count + room) * PAGE))
            end_waves(writer, window)
            written = sum(number <= MANY for number in stores)
            assert stores[:written] == list(range(1, written + 1)), room


def end_waves(writer: Actor, window: Window) -> None:
    """Have the waves end, as the next message has them do, and wait until they have."""
    writer.begin("peek", window.address, bytes(8))
    writer.end()  # of the waves
    writer.end()


def copied(client: Client, most_bytes: int) -> bytes:
    """Have the keeper copy all, of which nothing is written; return what the large region held."""
    answer, descriptors = client.ask("checkpoint", full=True, most_bytes=most_bytes)
    try:
        bitmaps = merge_scan(scan_of(answer["scan"] | {"epoch": 0}))
        (number,) = (region.number for region in bitmaps.regions if region.pages == MANY)
        content = bytearray(MANY * PAGE)
        with memoryview(content) as room:
            copied_by(bitmaps, answer, descriptors).sources[number].copy(ALL, room)
        return bytes(content)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        client.ask("leave")
