"""Processes come and go within an epoch, and no write of theirs is lost."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from system import is_alive, wait_until

if TYPE_CHECKING:
    from actors import Actor, Window
    from stage import Stage

PAGES = 64
ALL = set(range(PAGES))


def prepare(stage: Stage) -> tuple[Actor, Window]:
    """Start a workload with one region full of data, and take it through its first epoch."""
    leader = stage.start()
    window = leader.anonymous(PAGES)
    leader.fill(window)
    stage.baseline()
    return leader, window


def test_a_child_is_watched_from_its_first_store_on(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch() as epoch:
        child = leader.fork()
        child.store(window, 5)
        leader.store(window, 6)
    assert epoch.exact == {5, 6}
    assert epoch.region.written == {0: {6}, 1: {5}}
    assert epoch.advance["processes"]["born"] == 1
    with verified.epoch() as epoch:
        child.store(window, 7)
    assert epoch.exact == {7}


@pytest.mark.parametrize("end", ["exit", "kill", "segv"])
def test_what_a_child_stored_before_its_end_is_found(verified: Stage, end: str) -> None:
    leader, window = prepare(verified)
    with verified.epoch() as epoch:
        child = leader.fork()
        child.store(window, 5)
        if end == "exit":
            child.exit(3)
        elif end == "kill":
            child.tell("call", "kill", child.pid, signal.SIGKILL)
        else:
            child.tell("load", 0)
        leader.reap(child)
        leader.store(window, 6)
    assert epoch.exact == {5, 6}
    processes = epoch.advance["processes"]
    assert (processes["exited"], processes["killed"]) == ((1, 0) if end == "exit" else (0, 1))
    assert processes["at_end"] == 1


def test_what_a_process_stored_that_was_there_before_and_ends_is_found(verified: Stage) -> None:
    leader = verified.start()
    window = leader.anonymous(PAGES)
    leader.fill(window)
    other = leader.fork()
    verified.baseline()
    with verified.epoch() as epoch:
        other.store(window, 11)
        other.exit()
        leader.reap(other)
    assert epoch.exact == {11}


def test_three_generations_are_followed(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch() as epoch:
        child = leader.fork()
        grandchild = child.fork()
        grandchild.store(window, 1)
        last = grandchild.fork()
        last.store(window, 2)
        last.exit()
        grandchild.reap(last)
        child.store(window, 3)
    assert epoch.exact == {1, 2, 3}
    assert epoch.advance["processes"]["born"] == 3
    with verified.epoch() as epoch:
        grandchild.store(window, 4)
        grandchild.exit()
        child.reap(grandchild)
    assert epoch.exact == {4}


def test_the_writes_before_an_exec_are_settled_by_content(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch() as epoch:
        child = leader.fork()
        child.store(window, 9)
        program = child.execute()
        leader.store(window, 10)
    assert epoch.region.reasons == {"exec": ALL}
    assert epoch.region.dirty == {10}
    assert epoch.region.suspect == ALL - {10}
    assert epoch.advance["processes"]["executed"] == 1
    program.exit()
    manifest = verified.manifest(1)
    assert (manifest["present"], manifest["settled_changed"]) == (2, 1)


def test_a_new_program_that_maps_the_region_again_is_suspect_once(verified: Stage) -> None:
    leader = verified.start()
    path = verified.shm_path()
    memory = leader.file(path, PAGES)
    window = leader.map(memory, PAGES)
    leader.close(memory)
    leader.fill(window)
    child = leader.fork()
    verified.baseline()
    with verified.epoch() as epoch:
        program = child.execute()
        descriptor = program.open(path)
        view = program.map(descriptor, PAGES)
        program.close(descriptor)
        program.store(view, 3)
    assert epoch.region.suspect | epoch.region.dirty == ALL
    with verified.epoch() as epoch:
        program.store(view, 4)
    assert epoch.exact == {4}


@pytest.mark.parametrize("how", ["vfork_exec", "spawn"])
def test_a_program_that_is_spawned_makes_nothing_suspect(verified: Stage, how: str) -> None:
    leader, window = prepare(verified)
    with verified.epoch() as epoch:
        leader.store(window, 1)
        assert leader.ask(how, "/bin/true") == 0
        leader.store(window, 2)
    assert epoch.exact == {1, 2}
    processes = epoch.advance["processes"]
    assert (processes["born"], processes["executed"], processes["at_end"]) == (1, 1, 1)


def test_what_a_vfork_child_stores_is_found(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch() as epoch:
        child = leader.vfork()
        child.store(window, 4)
        child.exit()
        leader.end()
        leader.store(window, 5)
    assert epoch.exact == {4, 5}


def test_a_freeze_does_not_wait_for_a_process_in_vfork(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch() as epoch:
        child = leader.vfork()
        child.store(window, 4)
    assert epoch.exact == {4}
    with verified.epoch() as epoch:
        child.store(window, 5)
    assert epoch.exact == {5}
    with verified.epoch() as epoch:
        child.store(window, 6)
        child.execute().exit()
        leader.end()
        leader.store(window, 7)
    assert epoch.exact == {6, 7}


def test_processes_that_share_their_memory_are_one_address_space(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch() as epoch:
        twin = leader.fork("clone_vm")
        twin.store(window, 4)
        leader.store(window, 5)
    assert epoch.exact == {4, 5}
    with verified.epoch() as epoch:
        twin.store(window, 6)
        twin.exit()
        leader.reap(twin)
    assert epoch.exact == {6}
    with verified.epoch() as epoch:
        leader.store(window, 7)
    assert epoch.exact == {7}


def test_memory_lives_on_in_the_twin_of_a_process_that_ends(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch():
        child = leader.fork()
        twin = child.fork("clone_vm")
    with verified.epoch() as epoch:
        child.store(window, 1)
        child.exit()
        leader.reap(child)
        twin.store(window, 2)
    assert epoch.exact == {1, 2}
    with verified.epoch() as epoch:
        twin.store(window, 3)
        heir = twin.fork()
        heir.store(window, 4)
    assert epoch.exact == {3, 4}


def test_a_store_by_any_thread_is_found(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch() as epoch:
        thread = leader.fork("thread")
        assert thread.pid == leader.pid
        thread.store(window, 8)
    assert epoch.exact == {8}
    assert epoch.advance["processes"]["born"] == 0
    with verified.epoch() as epoch:
        thread.store(window, 9)
        thread.tell("call", "exit", 0)
        leader.store(window, 10)
    assert epoch.exact == {9, 10}


def test_a_process_whose_first_thread_has_ended_is_kept(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch() as epoch:
        child = leader.fork()
        thread = child.fork("thread")
        child.tell("call", "exit", 0)
        thread.store(window, 3)
    assert epoch.exact == {3}
    with verified.epoch() as epoch:
        thread.store(window, 4)
        grandchild = thread.fork()
        grandchild.store(window, 5)
    assert epoch.exact == {4, 5}
    with verified.epoch() as epoch:
        thread.store(window, 6)
        thread.exit()
        leader.reap(child)
    assert epoch.exact == {6}


def test_the_exec_of_a_thread_is_that_of_its_process(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch() as epoch:
        child = leader.fork()
        thread = child.fork("thread")
        thread.store(window, 3)
        program = thread.execute()
        assert program.pid == child.pid
    assert epoch.region.reasons == {"exec": ALL}
    with verified.epoch() as epoch:
        program.exit()
        leader.reap(child)
    assert epoch.exact == set()


def test_a_daemon_stays_in_the_workload(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch() as epoch:
        name = verified.hall.new_name()
        leader.ask("daemonise", name)
        daemon = verified.hall.meet(name)
        daemon.store(window, 40)
    assert epoch.exact == {40}
    with verified.epoch() as epoch:
        daemon.store(window, 41)
        daemon.fork().store(window, 42)
    assert epoch.exact == {41, 42}


@pytest.mark.parametrize("lives", [50, 400])
def test_no_write_of_a_storm_of_short_lives_is_lost(verified: Stage, lives: int) -> None:
    leader = verified.start()
    window = leader.anonymous(lives)
    leader.fill(window)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.begin("storm", window.address, lives, 1 << 40)
    for _ in range(3):
        with verified.epoch():
            pass
    with verified.epoch() as epoch:
        leader.end()
    assert epoch.region.used == set(range(lives))
    assert epoch.advance["processes"]["at_end"] == 1


def test_processes_are_numbered_in_the_order_of_their_birth(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch():
        leader.begin("brood", 60)
        _, born, _ = leader.end()
        leader.store(window, 0)
    expected = [leader.pid, *map(int, born.split(","))]
    assert verified.ask("status")["processes"] == expected


def test_a_process_that_is_killed_while_it_stands_loses_nothing(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch():
        child = leader.fork()
    number = len(verified.epochs)
    with verified.epoch() as epoch:
        child.store(window, 12)
    assert epoch.number == number
    verified.kill(child)
    wait_until(lambda: not is_alive(child.pid), "the end of a process that stands")
    with verified.epoch() as epoch:
        leader.store(window, 13)
    assert epoch.exact == {13}
    assert len(verified.ask("status")["processes"]) == 1
