"""Ways in which memory is written that no tracker sees: which pages each makes suspect.

That none of them loses a write, with any tracker, is what test_guarantees.py shows.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from actors import Window
from system import PAGE

from tidemark.keeper import pins
from tidemark.native.process import pins_outstanding

if TYPE_CHECKING:
    from actors import Actor
    from stage import Stage

PAGES = 32
ALL = set(range(PAGES))
MAYMOVE, DONTUNMAP = 1, 4
O_NOATIME = 0o1000000


def region(stage: Stage, leader: Actor, kind: str) -> tuple[Window, int]:
    """Have the leader share a region full of data; return also a descriptor of it, or its id."""
    handle = -1
    if kind == "anonymous":
        window = leader.anonymous(PAGES)
    elif kind == "sysv":
        handle = leader.segment(PAGES)
        window = leader.attach_segment(handle, PAGES)
    else:
        new = leader.memfd(PAGES) if kind == "memfd" else leader.file(stage.shm_path(), PAGES)
        handle, window = new, leader.map(new, PAGES)
    leader.fill(window)
    return window, handle


def prepare(stage: Stage, kind: str, *, held: bool = True) -> tuple[Actor, Window, int]:
    """Start a workload with one region, and take it through its first epoch.

    :param held: whether it keeps the descriptor of a file open
    """
    leader = stage.start()
    window, handle = region(stage, leader, kind)
    if kind == "posix" and not held:
        leader.close(handle)
    stage.baseline()
    return leader, window, handle


# Mappings that go


@pytest.mark.parametrize("kind", ["anonymous", "posix"])
def test_what_was_stored_to_a_mapping_that_is_gone_is_suspect(verified: Stage, kind: str) -> None:
    leader, window, _ = prepare(verified, kind, held=False)
    part = Window(window.at(4), 4, 8)
    with verified.epoch() as epoch:
        leader.store(window, 5, 20)
        leader.unmap(part)
    assert epoch.region.reasons == {"unmapped": set(range(4, 12))}
    assert epoch.region.dirty == {20}


def test_what_was_stored_before_something_else_took_its_place_is_suspect(verified: Stage) -> None:
    leader, window, _ = prepare(verified, "anonymous")
    with verified.epoch() as epoch:
        leader.store(window, 5, 20)
        leader.map(-1, 4, address=window.at(4))
    assert epoch.regions[1].reasons == {"unmapped": {4, 5, 6, 7}}
    assert epoch.regions[1].dirty == {20}


def test_what_was_stored_before_the_same_was_mapped_in_its_place_is_suspect(
    verified: Stage,
) -> None:
    leader, window, memory = prepare(verified, "posix")
    with verified.epoch() as epoch:
        leader.store(window, 5)
        leader.map(memory, PAGES, address=window.address)
        leader.store(window, 6)
        leader.close(memory)
    assert epoch.region.dirty | epoch.region.suspect == ALL
    with verified.epoch() as epoch:
        leader.store(window, 7)
    assert epoch.exact == {7}


def test_a_mapping_that_moves_loses_nothing(verified: Stage) -> None:
    leader, window, _ = prepare(verified, "anonymous")
    with verified.epoch() as epoch:
        leader.store(window, 5)
        there = leader.anonymous(PAGES).address
        address = leader.call("mremap", window.address, window.bytes, window.bytes, 3, there)
        moved = Window(address, 0, PAGES)
        leader.store(moved, 6)
    assert epoch.region.suspect | epoch.region.dirty == ALL
    with verified.epoch() as epoch:
        leader.store(moved, 7)
    assert epoch.exact == {7}


def test_a_mapping_that_grows_loses_nothing(verified: Stage) -> None:
    leader = verified.start()
    memory = leader.file(verified.shm_path(), 2 * PAGES)
    whole = leader.map(memory, 2 * PAGES)
    leader.fill(whole)
    leader.unmap(whole)
    window = leader.map(memory, PAGES)
    leader.close(memory)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.store(window, 5)
        grown = leader.remap(window, 2 * PAGES, MAYMOVE)
        leader.store(grown, 40)
    assert 5 in epoch.region.dirty | epoch.region.suspect
    with verified.epoch() as epoch:
        leader.store(grown, 6, 41)
        grown = leader.remap(grown, PAGES, MAYMOVE)
    assert epoch.region.dirty == {6}
    assert epoch.region.reasons == {"unmapped": set(range(PAGES, 2 * PAGES))}


def test_a_second_mapping_made_by_mremap_is_suspect(verified: Stage) -> None:
    leader, window, _ = prepare(verified, "anonymous")
    with verified.epoch() as epoch:
        second = leader.remap(window, PAGES, MAYMOVE, old=0)
        assert second.address != window.address
        leader.store(second, 9)
        leader.store(window, 10)
    assert epoch.region.dirty == {10}
    assert epoch.region.suspect == ALL - {10}


# Mappings that come and go


def test_a_segment_that_is_attached_within_an_epoch_is_found_out(verified: Stage) -> None:
    leader, _, segment = prepare(verified, "sysv")
    with verified.epoch() as epoch:
        address = leader.call("shmat", segment, 0, 0)
        leader.store(Window(address, 0, PAGES), 8)
        leader.call("shmdt", address)
    assert epoch.region.reasons == {"touched": ALL}


def test_a_mapping_made_without_a_trace_of_access_is_found_out(verified: Stage) -> None:
    leader = verified.start()
    path = verified.shm_path()
    memory = leader.file(path, PAGES)
    leader.fill(leader.map(memory, PAGES))
    leader.close(memory)
    verified.baseline()
    with verified.epoch() as epoch:
        memory = leader.open(path, 2 | O_NOATIME)
        brief = leader.map(memory, PAGES)
        leader.store(brief, 9)
        leader.unmap(brief)
        leader.close(memory)
    assert epoch.region.suspect == ALL


def test_a_mapping_made_by_an_old_descriptor_without_a_trace_is_found_out(verified: Stage) -> None:
    leader = verified.start()
    path = verified.shm_path()
    memory = leader.file(path, PAGES)
    leader.fill(leader.map(memory, PAGES))
    silent = leader.open(path, 2 | O_NOATIME)
    verified.baseline()
    with verified.epoch() as epoch:
        brief = leader.map(silent, PAGES)
        leader.store(brief, 9)
        leader.unmap(brief)
        leader.close(silent)
    assert epoch.region.suspect == ALL


def test_a_second_mapping_by_mremap_that_lives_within_an_epoch_is_found_out(
    verified: Stage,
) -> None:
    leader, window, _ = prepare(verified, "anonymous")
    with verified.epoch() as epoch:
        second = leader.remap(window, PAGES, MAYMOVE, old=0)
        leader.store(second, 9)
        leader.unmap(second)
    assert 9 in epoch.region.dirty | epoch.region.suspect


# Descriptors


def test_a_memory_file_whose_descriptor_is_open_for_writing_is_suspect(verified: Stage) -> None:
    leader, window, memory = prepare(verified, "memfd")
    with verified.epoch() as epoch:
        leader.store(window, 7)
    assert epoch.region.reasons == {"descriptor": ALL}
    assert epoch.region.dirty == {7}
    with verified.epoch():
        leader.close(memory)
    with verified.epoch() as epoch:
        leader.store(window, 8)
    assert epoch.exact == {8}


def test_a_file_of_which_a_descriptor_is_open_is_vouched_for_if_it_cannot_write(
    verified: Stage,
) -> None:
    """io_submit(2) would tell nobody that one was used which can."""
    leader = verified.start()
    path = verified.shm_path()
    memory = leader.file(path, PAGES)
    window = leader.map(memory, PAGES)
    leader.fill(window)
    leader.open(path, os.O_RDONLY)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.store(window, 7)
        leader.close(memory)
    assert epoch.region.reasons == {"descriptor": ALL}
    with verified.epoch() as epoch:
        leader.store(window, 8)
    assert epoch.exact == {8}


@pytest.mark.usefixtures("root")
def test_a_memory_file_that_a_process_outside_may_write_is_suspect(verified: Stage) -> None:
    leader = verified.start()
    memory = leader.memfd(PAGES)
    leader.fill(leader.map(memory, PAGES))
    outsider = verified.program()
    theirs = outsider.call("pidfd_getfd", outsider.call("pidfd_open", leader.pid, 0), memory, 0)
    leader.close(memory)
    verified.baseline()
    with verified.epoch() as epoch:
        outsider.pwrite(theirs, 3)
    assert epoch.region.suspect == ALL


# Others


@pytest.mark.parametrize("kind", ["anonymous", "posix"])
@pytest.mark.usefixtures("root")
def test_a_region_that_a_process_outside_maps_is_suspect(verified: Stage, kind: str) -> None:
    leader, window, _ = prepare(verified, kind, held=False)
    link = f"/proc/{leader.pid}/map_files/{window.address:x}-{window.address + window.bytes:x}"
    outsider = verified.program()
    view = outsider.map(outsider.open(link), PAGES)
    with verified.epoch():
        pass
    with verified.epoch() as epoch:
        outsider.store(view, 6)
    assert epoch.region.reasons == {"foreign": ALL}
    with verified.epoch() as epoch:
        outsider.store(view, 7)
        outsider.exit()
    assert epoch.region.reasons.keys() >= {"foreign"}


@pytest.mark.usefixtures("root")
def test_a_store_into_a_process_that_stands_counts_for_the_next_epoch(verified: Stage) -> None:
    leader, window, _ = prepare(verified, "anonymous")
    with verified.epoch() as epoch:
        pass
    verified.write_memory(leader.pid, window.at(5), b"from outside")
    with verified.epoch() as epoch:
        pass
    assert epoch.exact == {5}


@pytest.mark.serial
@pytest.mark.usefixtures("root")
def test_what_was_written_is_suspect_as_long_as_the_kernel_holds_pages_for_anybody(
    verified: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that is under way may be for any of them: of a closed ring, nothing else shows."""
    monkeypatch.delenv(pins.SWITCH)
    if pins_outstanding():
        pytest.skip("somebody else on this machine has pages pinned")
    leader, window, _ = prepare(verified, "anonymous")
    outsider = verified.program()
    buffer = outsider.anonymous(1)
    with verified.epoch() as epoch:
        leader.store(window, 3)
        outsider.ask("uring", buffer.address, PAGE)
    assert epoch.region.dirty == {3}
    with verified.epoch() as epoch:
        leader.store(window, 5)
    assert epoch.region.dirty == {5}
    assert epoch.region.reasons["pinned"] >= {3}
    with verified.epoch() as epoch:
        pass
    assert epoch.region.reasons["pinned"] >= {3, 5}
