"""What a region uses: pages that it holds and that are not zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from system import PAGE

if TYPE_CHECKING:
    from stage import Stage

MADV_DONTNEED, MADV_REMOVE, MADV_PAGEOUT = 4, 9, 21
PUNCH_HOLE = 3  # with FALLOC_FL_KEEP_SIZE
ZERO_RANGE = 0x10


def test_only_pages_that_hold_something_are_used(verified: Stage) -> None:
    leader = verified.start()
    window = leader.anonymous(100_000)
    leader.store(window, 0, 511, 512, 40_000, 99_999)
    verified.ready()
    with verified.epoch() as epoch:
        pass
    assert epoch.region.used == {0, 511, 512, 40_000, 99_999}
    with verified.epoch() as epoch:
        leader.store(window, 70_000)
    assert epoch.region.used == {0, 511, 512, 40_000, 70_000, 99_999}
    assert epoch.exact == {70_000}


@pytest.mark.parametrize("way", ["madvise", "fallocate"])
def test_a_page_that_is_given_back_is_dirty_and_not_used(verified: Stage, way: str) -> None:
    leader = verified.start()
    memory = leader.file(verified.shm_path(), 32)
    window = leader.map(memory, 32)
    leader.fill(window)
    verified.baseline()
    with verified.epoch() as epoch:
        if way == "madvise":
            leader.call("madvise", window.at(8), 4 * PAGE, MADV_REMOVE)
        else:
            leader.call("fallocate", memory, PUNCH_HOLE, 8 * PAGE, 4 * PAGE)
    assert epoch.region.used == set(range(32)) - {8, 9, 10, 11}
    assert epoch.region.dirty >= {8, 9, 10, 11}


def test_a_page_that_is_given_back_and_written_again_is_dirty(verified: Stage) -> None:
    leader = verified.start()
    window = leader.anonymous(16)
    leader.fill(window)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.call("madvise", window.at(3), 2 * PAGE, MADV_REMOVE)
        leader.store(window, 4)
    assert epoch.region.used == set(range(16)) - {3}
    assert epoch.region.dirty >= {3, 4}


def test_pages_that_were_only_read_are_not_used(verified: Stage) -> None:
    leader = verified.start()
    window = leader.anonymous(32)
    leader.store(window, 5)
    leader.touch(window)
    verified.ready()
    with verified.epoch() as epoch:
        pass
    assert epoch.region.used == {5}
    with verified.epoch() as epoch:
        leader.touch(window)
        leader.store(window, 6)
    assert epoch.region.used == {5, 6}


def test_a_page_that_becomes_zero_is_dirty_and_not_used_any_more(verified: Stage) -> None:
    leader = verified.start()
    window = leader.anonymous(8)
    leader.fill(window)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.ask("fill", window.at(2), 1, 0)
    assert epoch.exact == {2}
    assert epoch.region.used == {0, 1, 3, 4, 5, 6, 7}
    with verified.epoch() as epoch:
        leader.store(window, 2)
    assert epoch.exact == {2}
    assert epoch.region.used == set(range(8))


def test_pages_that_are_allocated_and_zero_are_not_used(verified: Stage) -> None:
    leader = verified.start()
    memory = leader.memfd(64)
    window = leader.map(memory, 64)
    leader.call("fallocate", memory, 0, 0, 64 * PAGE)
    leader.close(memory)
    leader.store(window, 9)
    verified.ready()
    with verified.epoch() as epoch:
        pass
    assert epoch.region.used == {9}
    with verified.epoch() as epoch:
        leader.store(window, 10)
    assert epoch.exact == {10}
    assert epoch.region.used == {9, 10}


def test_pages_that_a_process_lets_go_of_stay_in_the_region(verified: Stage) -> None:
    leader = verified.start()
    window = leader.anonymous(16)
    leader.fill(window)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.store(window, 3)
        leader.call("madvise", window.at(0), 8 * PAGE, MADV_DONTNEED)
    assert epoch.region.used == set(range(16))
    assert 3 in epoch.region.dirty
    with verified.epoch() as epoch:
        leader.call("madvise", window.at(0), 16 * PAGE, MADV_PAGEOUT)
        leader.store(window, 9)
    assert 9 in epoch.region.dirty


@pytest.mark.parametrize("kind", ["anonymous", "memfd", "sysv", "posix"])
@pytest.mark.parametrize("reader", ["itself", "another"])
def test_a_page_that_is_given_back_and_only_read_then_is_not_lost(
    verified: Stage, kind: str, reader: str
) -> None:
    leader = verified.start()
    if kind == "sysv":
        window = leader.attach_segment(leader.segment(16), 16)
    elif kind == "anonymous":
        window = leader.anonymous(16)
    else:
        memory = leader.memfd(16) if kind == "memfd" else leader.file(verified.shm_path(), 16)
        window = leader.map(memory, 16)
        leader.close(memory)
    leader.fill(window)
    child = leader.fork()
    child.touch(window)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.call("madvise", window.at(3), 2 * PAGE, MADV_REMOVE)
        (leader if reader == "itself" else child).touch(window)
    assert epoch.region.used == set(range(16)) - {3, 4}
