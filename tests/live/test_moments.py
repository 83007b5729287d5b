"""A checkpoint is of one moment, though much of it is copied while the processes write."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from kept import PLENTY, Kept
from system import PAGE

from tidemark.checkpoint.series import Series
from tidemark.checkpoint.take import Taker

if TYPE_CHECKING:
    from pathlib import Path

    from stage import Stage

PAGES = 8192
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
    return [struct.unpack_from("<q", content, page * PAGE)[0] for page in range(PAGES)]


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
