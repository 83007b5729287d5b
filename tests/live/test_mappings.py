"""How a region is mapped makes no difference to what is found of it."""

from __future__ import annotations

import mmap
from mmap import PROT_READ
from typing import TYPE_CHECKING

import pytest
from system import PAGE

if TYPE_CHECKING:
    from stage import Stage

NONE = 0
LENGTHS = [1, 63, 64, 65, 511, 512, 513, 32767, 32769]


@pytest.mark.parametrize("length", LENGTHS)
def test_the_first_and_the_last_page_of_a_region_of_any_length_are_found(
    verified: Stage, length: int
) -> None:
    leader = verified.start()
    window = leader.anonymous(length)
    leader.store(window, 0, length - 1, length // 2)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.store(window, length - 1)
    assert epoch.region.pages == length
    assert epoch.exact == {length - 1}
    with verified.epoch() as epoch:
        leader.store(window, 0)
    assert epoch.exact == {0}


@pytest.mark.parametrize("page", [1, 63, 64, 511, 512, 700])
def test_a_mapping_at_any_offset_reports_the_pages_of_the_region(
    verified: Stage, page: int
) -> None:
    leader = verified.start()
    memory = leader.memfd(1024)
    leader.close(leader.call("dup", memory))
    whole = leader.map(memory, 1024)
    leader.fill(whole)
    leader.unmap(whole)
    part = leader.map(memory, 100, page)
    leader.close(memory)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.store(part, page, page + 99)
    assert epoch.exact == {page, page + 99}


def test_a_short_mapping_does_not_report_beyond_its_end(verified: Stage) -> None:
    leader = verified.start()
    memory = leader.memfd(256)
    whole = leader.map(memory, 256)
    leader.fill(whole)
    leader.unmap(whole)
    first, last = leader.map(memory, 3), leader.map(memory, 3, 253)
    leader.close(memory)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.fill(first)
        leader.fill(last)
    assert epoch.exact == {0, 1, 2, 253, 254, 255}


def test_two_mappings_of_a_region_in_one_process_count_once(verified: Stage) -> None:
    leader = verified.start()
    memory = leader.memfd(32)
    one, two = leader.map(memory, 32), leader.map(memory, 16, 16)
    leader.fill(one)
    leader.close(memory)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.store(one, 3, 20)
        leader.store(two, 20, 21)
    assert epoch.exact == {3, 20, 21}
    assert len(epoch.regions) == 1


def test_a_region_that_grows_within_an_epoch_is_dumped_whole(verified: Stage) -> None:
    leader = verified.start()
    memory = leader.file(verified.shm_path(), 4)
    window = leader.map(memory, 4)
    leader.fill(window)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.truncate(memory, 700)
        grown = leader.map(memory, 700)
        leader.store(grown, 5, 699)
        leader.close(memory)
    assert epoch.region.pages == 700
    assert epoch.region.dirty == {5, 699}
    with verified.epoch() as epoch:
        leader.store(grown, 600, 699)
        leader.store(window, 2)
    assert epoch.exact == {2, 600, 699}


def test_a_region_that_grows_under_a_longer_mapping_is_found(verified: Stage) -> None:
    leader = verified.start()
    memory = leader.memfd(2)
    window = leader.map(memory, 600)
    leader.fill(window, 0, 2)
    verified.ready()
    with verified.epoch() as epoch:
        pass
    assert epoch.region.pages == 2
    with verified.epoch() as epoch:
        leader.truncate(memory, 600)
        leader.store(window, 1, 2, 599)
    assert epoch.region.pages == 600
    assert epoch.region.dirty >= {2, 599}


def test_a_mapping_that_begins_beyond_the_end_of_its_region_shows_nothing(verified: Stage) -> None:
    leader = verified.start()
    memory = leader.file(verified.shm_path(), 8)
    window = leader.map(memory, 8)
    leader.fill(window)
    leader.map(memory, 4, page=20)
    leader.close(memory)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.store(window, 7)
    assert epoch.exact == {7}


def test_a_region_that_shrinks_loses_what_it_held(verified: Stage) -> None:
    leader = verified.start()
    memory = leader.memfd(64)
    window = leader.map(memory, 64)
    leader.fill(window)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.truncate(memory, 10)
    assert epoch.region.used == set(range(10))
    assert epoch.region.dirty == set(range(10, 64))
    with verified.epoch() as epoch:
        leader.truncate(memory, 64)
        leader.store(window, 20)
    assert epoch.region.used == {*range(10), 20}


def test_a_region_that_shrinks_and_grows_within_an_epoch_is_zero_there(verified: Stage) -> None:
    leader = verified.start()
    memory = leader.memfd(64)
    window = leader.map(memory, 64)
    leader.fill(window)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.truncate(memory, 10)
        leader.truncate(memory, 64)
        leader.store(window, 30)
        leader.touch(window)
    assert epoch.region.used == {*range(10), 30}


@pytest.mark.parametrize("tail", [1, 100, PAGE - 1])
def test_a_region_that_ends_within_a_page_is_kept_to_its_last_byte(
    verified: Stage, tail: int
) -> None:
    leader = verified.start()
    memory = leader.file(verified.shm_path(), 0)
    leader.call("ftruncate", memory, 3 * PAGE + tail)
    window = leader.map(memory, 4)
    leader.close(memory)
    leader.fill(window)
    verified.ready()
    with verified.epoch() as epoch:
        pass
    assert epoch.region.pages == 4
    with verified.epoch() as epoch:
        leader.store(window, 3)
    assert epoch.exact == {3}


def test_what_stands_beyond_the_end_of_a_region_in_its_last_page_is_kept(verified: Stage) -> None:
    """All who map the region see it, though read(2) does not."""
    leader = verified.start()
    memory = leader.memfd(0)
    leader.call("ftruncate", memory, 100)
    window = leader.map(memory, 1)
    other = leader.fork()
    verified.ready()
    with verified.epoch():
        leader.ask("poke", window.at(0) + 2000, b"beyond")
    with verified.epoch() as epoch:
        other.ask("poke", window.at(0) + 3000, b"further")
    assert epoch.region.used == {0}


def test_a_mapping_that_can_only_be_read_needs_no_tracker(verified: Stage) -> None:
    leader = verified.start()
    path = verified.shm_path()
    memory = leader.file(path, 8)
    window = leader.map(memory, 8)
    leader.close(memory)
    leader.fill(window)
    reader = leader.fork()
    reader.unmap(window)
    descriptor = reader.open(path, 0)
    view = reader.map(descriptor, 8, protection=PROT_READ)
    reader.touch(view)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.store(window, 5)
        reader.touch(view)
    assert epoch.exact == {5}


def test_a_mapping_that_may_not_be_touched_is_dumped_all_the_same(verified: Stage) -> None:
    leader = verified.start()
    window = leader.anonymous(8)
    leader.fill(window)
    leader.protect(window, NONE)
    verified.ready()
    with verified.epoch() as epoch:
        pass
    assert epoch.region.used == set(range(8))
    with verified.epoch() as epoch:
        leader.protect(window, mmap.PROT_READ | mmap.PROT_WRITE)
        leader.store(window, 1)
        leader.protect(window, NONE)
    assert epoch.exact == {1}


def test_a_change_of_protection_loses_nothing(verified: Stage) -> None:
    leader = verified.start()
    window = leader.anonymous(16)
    leader.fill(window)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.store(window, 2)
        leader.protect(window, PROT_READ)
        leader.call("mprotect", window.at(4), 3 * PAGE, NONE)
        leader.protect(window, mmap.PROT_READ | mmap.PROT_WRITE)
        leader.store(window, 5)
    assert epoch.exact == {2, 5}


def test_memory_of_every_kind_is_tracked_side_by_side(verified: Stage) -> None:
    leader = verified.start()
    segment = leader.segment(16)
    windows = {
        "anonymous": leader.anonymous(16),
        "memfd": leader.map(leader.memfd(16), 16),
        "sysv": leader.attach_segment(segment, 16),
        "posix": leader.map(file := leader.file(verified.shm_path(), 16), 16),
    }
    leader.close(file)
    for window in windows.values():
        leader.fill(window)
    other = leader.fork()
    verified.ready()
    with verified.epoch() as epoch:
        pass
    assert sorted(region.kind for region in epoch.regions.values()) == sorted(windows)
    with verified.epoch() as epoch:
        for page, window in enumerate(windows.values()):
            other.store(window, page)
    for region in epoch.regions.values():
        assert region.dirty == {list(windows).index(region.kind)}
        if region.kind != "memfd":  # its descriptor is still open
            assert region.reasons == {}


def test_three_hundred_regions_are_kept(verified: Stage) -> None:
    leader = verified.start()
    windows = [leader.anonymous(2) for _ in range(300)]
    for window in windows:
        leader.fill(window)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.store(windows[0], 0)
        leader.store(windows[-1], 1)
    assert len(epoch.regions) == 300
    assert {n: r.dirty for n, r in epoch.regions.items() if r.dirty} == {1: {0}, 300: {1}}


def test_a_region_keeps_its_number_and_a_new_one_gets_the_next(verified: Stage) -> None:
    leader = verified.start()
    first = leader.anonymous(4)
    leader.fill(first)
    verified.baseline()
    with verified.epoch() as epoch:
        second = leader.anonymous(4)
        leader.fill(second)
        leader.store(first, 3)
    assert epoch.regions[1].dirty == {3}
    assert not epoch.regions[2].known
    assert epoch.regions[2].used == set(range(4))
    with verified.epoch() as epoch:
        leader.store(second, 2)
        leader.unmap(first)
    assert list(epoch.regions) == [2]
    assert epoch.exact == {2}
