"""Checkpoints of a process that runs: none loses a write, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from kept import PAGES, PLENTY, Kept
from system import PAGE, descriptors, is_alive, kill, maps, state, status, wait_until

from tidemark.checkpoint.keep import keep_last
from tidemark.checkpoint.series import Series
from tidemark.checkpoint.take import Taken, Taker
from tidemark.errors import BusyError, KeeperError, StorageError, WorkloadError
from tidemark.image.chain import open_images

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stage import Stage

_TAKES = """
import json, pathlib, sys
from tidemark.checkpoint.keepers import connect
client = connect(pathlib.Path(sys.argv[1]))
client.ask("checkpoint", full=False, most_bytes=int(sys.argv[2]))
print("taken", flush=True)
sys.stdin.read()
"""
"""A client that takes a checkpoint, and never writes it."""


@contextlib.contextmanager
def a_client_that_dies(kept: Kept, most_bytes: int) -> Iterator[None]:
    """Have a client take a checkpoint, and kill it when the block ends."""
    command = [sys.executable, "-c", _TAKES, str(kept.stage.keeper_json), str(most_bytes)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True) as client:  # type: ignore[call-overload]
        assert client.stdout.readline() == "taken\n"
        yield
        client.kill()


def test_each_checkpoint_holds_what_the_memory_held_and_the_process_runs_on(kept: Kept) -> None:
    leader, window = kept.attach()
    first = kept.take()
    assert (first.number, first.full, first.parent, first.held) == (0, True, None, False)
    leader.store(window, 3, 5)
    second = kept.take()
    assert (second.pages, second.full, second.suspects) == (2, False, 0)
    assert second.parent == first.path
    third = kept.take()
    assert third.pages == 0
    leader.store(window, 5)
    assert kept.take().pages == 1
    assert kept.stage.runs()
    assert kept.check_all() == [0, 1, 2, 3]


def test_a_process_that_is_released_runs_on_without_a_trace(kept: Kept) -> None:
    leader, window = kept.program()
    before = descriptors(leader.pid), maps(leader.pid)
    kept.stage.attach(leader)
    kept.take()
    kept.stage.ask("release", stop=False)
    kept.stage.wait_for_keeper()
    assert status(leader.pid, "TracerPid") == "0"
    assert (descriptors(leader.pid), maps(leader.pid)) == before
    leader.store(window, 1)


def test_a_program_that_keep_started_runs_on_when_it_is_released(kept: Kept) -> None:
    leader, window = kept.start()
    kept.take()
    kept.stage.ask("release", stop=False)
    kept.stage.wait_for_keeper()
    leader.store(window, 1)
    assert status(leader.pid, "TracerPid") == "0"


def test_a_program_that_keep_started_can_be_stopped_with_its_keeper(kept: Kept) -> None:
    leader, _ = kept.start()
    kept.take()
    kept.stage.ask("release", stop=True)
    kept.stage.wait_for_keeper()
    assert not is_alive(leader.pid)


def test_a_process_that_was_attached_to_is_not_stopped(kept: Kept) -> None:
    leader, window = kept.attach()
    with pytest.raises(WorkloadError, match="was not started by its keeper"):
        kept.stage.ask("release", stop=True)
    leader.store(window, 1)
    kept.take()


@pytest.mark.parametrize("how", ["attach", "start"])
def test_the_process_survives_a_kill_of_its_keeper(kept: Kept, how: str) -> None:
    leader, window = kept.attach() if how == "attach" else kept.start()
    kept.take()
    kill(kept.stage.keeper["pid"])
    kept.stage.wait_for_keeper()
    leader.store(window, 1)
    wait_until(lambda: status(leader.pid, "TracerPid") == "0", "it is not traced")
    assert kept.check_all() == [0]


def test_the_process_survives_a_kill_of_its_keeper_while_it_stands(kept: Kept) -> None:
    leader, window = kept.start()
    with a_client_that_dies(kept, most_bytes=0):
        assert state(leader.pid) in "tT"
        kill(kept.stage.keeper["pid"])
        kept.stage.wait_for_keeper()
        leader.store(window, 1)


def test_a_keeper_that_is_told_to_end_lets_its_process_run(kept: Kept) -> None:
    leader, window = kept.start()
    os.kill(kept.stage.keeper["pid"], signal.SIGTERM)
    kept.stage.wait_for_keeper()
    leader.store(window, 1)


def test_a_keeper_ends_with_its_process(kept: Kept) -> None:
    leader, _ = kept.start()
    kept.take()
    leader.exit()
    kept.stage.wait_for_keeper()
    assert kept.check_all() == [0]


# Writes between the scan and the thaw, and checkpoints that come to nothing


def test_a_write_between_the_scan_and_the_thaw_is_in_the_next_checkpoint(kept: Kept) -> None:
    leader, window = kept.attach()
    kept.take()
    leader.store(window, 1)
    with kept.stage.client() as client:
        client.ask("checkpoint", full=False, most_bytes=0)
        kept.stage.write_memory(leader.pid, window.at(2), b"from outside")
    taken = kept.take()
    assert taken.pages == 2


def test_a_write_from_outside_while_a_checkpoint_is_written_is_in_the_next(kept: Kept) -> None:
    leader, window = kept.attach()
    kept.take()

    class Intruded(Series):
        def next_number(self) -> int:
            kept.expect(1)
            kept.stage.write_memory(leader.pid, window.at(2), b"from outside")
            return super().next_number()

    leader.store(window, 1)
    with kept.stage.client() as client, Intruded(kept.directory) as series:
        held = Taker(client, series, 0).take()
    assert (held.held, held.pages) == (True, 1)
    assert kept.take().pages == 1


@pytest.mark.parametrize("most_bytes", [0, PLENTY])
def test_what_a_client_did_not_save_is_compared_the_next_time(kept: Kept, most_bytes: int) -> None:
    leader, window = kept.attach()
    kept.take()
    leader.store(window, 1, 2)
    with a_client_that_dies(kept, most_bytes):
        pass
    leader.store(window, 3)
    wait_until(kept.stage.runs, "it runs again")
    taken = kept.take()
    assert taken.pages == 3
    assert kept.manifest(taken.number)["suspects"] == {"unsaved": 2}


def test_what_several_clients_did_not_save_is_not_forgotten(kept: Kept) -> None:
    leader, window = kept.attach()
    kept.take()
    for page in (1, 2, 3):
        leader.store(window, page)
        with kept.stage.client() as client:
            client.ask("checkpoint", full=False, most_bytes=PLENTY)
            client.ask("leave")
    assert kept.take().pages == 3
    assert kept.take().pages == 0


def test_a_region_born_in_a_checkpoint_that_was_not_saved_is_whole_in_the_next(kept: Kept) -> None:
    leader, _ = kept.attach()
    kept.take()
    born = leader.anonymous(PAGES)
    leader.fill(born)
    kept.windows.append((leader, born))
    with a_client_that_dies(kept, PLENTY):
        pass
    assert kept.take().pages == PAGES


def test_a_page_given_back_in_a_checkpoint_that_was_not_saved_is_gone_in_the_next(
    kept: Kept,
) -> None:
    leader, window = kept.attach()
    kept.take()
    leader.call("madvise", window.at(4), PAGE, 9)  # MADV_REMOVE
    with a_client_that_dies(kept, PLENTY):
        pass
    kept.take()
    leader.store(window, 4)
    with a_client_that_dies(kept, PLENTY):
        pass
    leader.call("madvise", window.at(4), PAGE, 9)
    kept.take()
    leader.store(window, 4)
    assert kept.take().pages == 1


def test_a_checkpoint_that_fails_in_the_keeper_after_the_scan_loses_nothing(kept: Kept) -> None:
    leader, window = kept.attach()
    kept.take()
    leader.fill(window)
    keeper = kept.stage.keeper["pid"]
    before = resource.prlimit(keeper, resource.RLIMIT_FSIZE, (PAGE, -1))
    kept.stage.ask("checkpoint", full=False, most_bytes=0)  # gives back what was copied
    leader.store(window, 1)
    born = leader.anonymous(40 * PAGES)  # more than there is memory at hand for
    leader.fill(born)
    kept.windows.append((leader, born))
    with pytest.raises(KeeperError, match="no memory to copy"):
        kept.take()
    assert kept.stage.runs()
    leader.store(window, 2)
    resource.prlimit(keeper, resource.RLIMIT_FSIZE, before)
    taken = kept.take()
    assert taken.pages == PAGES + 40 * PAGES


def test_a_checkpoint_that_cannot_be_written_leaves_nothing_and_loses_nothing(
    kept: Kept,
) -> None:
    leader, window = kept.attach()
    kept.take()
    leader.store(window, 1, 2, 3)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * PAGE, before[1]))
    try:
        with pytest.raises(StorageError, match="cannot write"):
            kept.take()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    leader.store(window, 4)
    taken = kept.take()
    assert (taken.number, taken.pages) == (1, 4)
    assert sorted(path.name for path in kept.directory.glob("[!.]*")) == ["000000", "000001"]


def test_an_image_that_was_published_but_not_saved_stands_beside_the_next(kept: Kept) -> None:
    leader, window = kept.attach()
    kept.take()
    leader.store(window, 1)
    with kept.stage.client() as client, Series(kept.directory) as series:
        asked = client.ask

        def ask(step: str, **arguments: object) -> object:
            if step == "save":
                raise KeyboardInterrupt
            return asked(step, **arguments)

        client.ask = ask  # type: ignore[method-assign, assignment]
        with pytest.raises(KeyboardInterrupt):
            Taker(client, series, PLENTY).take()
    kept.expect(1)
    leader.store(window, 2)
    taken = kept.take()
    assert taken.parent == kept.directory / "000000"
    assert taken.pages == 2
    assert kept.check_all() == [0, 1, 2]


# What becomes of processes and regions between two checkpoints


def test_regions_that_are_born_and_die_between_checkpoints_come_and_go(kept: Kept) -> None:
    leader, _ = kept.attach()
    kept.take()
    born = leader.anonymous(PAGES)
    leader.fill(born)
    kept.windows.append((leader, born))
    assert kept.take().pages == PAGES
    leader.store(born, 7)
    assert kept.take().pages == 1
    leader.unmap(born)
    kept.windows.pop()
    taken = kept.take()
    assert taken.pages == 0
    assert kept.check_all() == [0, 1, 2, 3]


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_what_a_process_wrote_before_its_end_is_in_the_next_checkpoint(
    kept: Kept, how: str
) -> None:
    leader, window = kept.attach()
    child = leader.fork()
    kept.take()
    child.store(window, 2)
    if how == "exit":
        child.exit()
    else:
        kill(child.pid)
    leader.reap(child)
    assert kept.take().pages == 1


def test_what_a_child_wrote_that_was_born_and_died_between_checkpoints_is_there(
    kept: Kept,
) -> None:
    leader, window = kept.attach()
    kept.take()
    for page in (3, 4):
        child = leader.fork()
        child.store(window, page)
        child.exit()
        leader.reap(child)
    assert kept.take().pages == 2


def test_a_process_that_executes_another_program_between_checkpoints_is_followed(
    kept: Kept,
) -> None:
    leader, window = kept.attach()
    child = leader.fork()
    kept.take()
    child.store(window, 2)
    child.execute()
    leader.store(window, 3)
    assert kept.take().pages == 2


def test_a_memory_file_that_is_written_through_its_descriptor_is_compared(kept: Kept) -> None:
    leader = kept.stage.program()
    descriptor = leader.memfd(PAGES)
    window = leader.map(descriptor, PAGES)
    leader.fill(window)
    kept.windows.append((leader, window))
    kept.stage.attach(leader)
    kept.take()
    leader.pwrite(descriptor, 5)
    taken = kept.take()
    assert taken.pages == 1
    assert taken.suspects > 0


def test_without_a_tracker_all_pages_are_copied_and_compared(kept: Kept) -> None:
    leader, window = kept.attach(tracker="content")
    kept.take()
    leader.store(window, 5)
    taken = kept.take()
    assert (taken.pages, taken.suspects) == (1, PAGES)


def test_an_ordinary_user_keeps_his_own_processes(plain: Stage) -> None:
    kept = Kept(plain)
    leader, window = kept.start()
    kept.take()
    leader.store(window, 1)
    kept.take()
    assert kept.check_all() == [0, 1]


def test_many_processes_that_write_at_once_lose_nothing(kept: Kept) -> None:
    leader, window = kept.attach()
    children = [leader.fork() for _ in range(4)]
    kept.take()
    for _ in range(5):
        for page, child in enumerate(children):
            child.begin("fill", window.at(page), 3, page + 1)
        for child in children:
            child.end()
        kept.take()
    assert kept.check_all() == list(range(6))


# Parents


def test_where_the_parent_is_gone_a_checkpoint_is_in_full(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    leader, window = kept.attach()
    kept.take()
    leader.store(window, 1)
    shutil.rmtree(kept.directory)
    taken = kept.take()
    assert (taken.full, taken.pages) == (True, PAGES)
    assert "a checkpoint in full, since" in caplog.text


def test_where_the_parent_is_another_image_a_checkpoint_is_in_full(kept: Kept) -> None:
    leader, window = kept.attach()
    first = kept.take()
    leader.store(window, 1)
    second = kept.take()
    leader.store(window, 2)
    shutil.rmtree(second.path)
    shutil.copytree(first.path, second.path, symlinks=True)
    kept.expect(1)
    shutil.rmtree(second.path)
    assert kept.take().full


def test_a_client_goes_on_from_what_it_has_written_itself(kept: Kept) -> None:
    leader = kept.stage.program()
    descriptor = leader.memfd(PAGES)
    window = leader.map(descriptor, PAGES)
    leader.fill(window)
    kept.windows.append((leader, window))
    kept.stage.attach(leader)
    with kept.stage.client() as client, Series(kept.directory) as series:
        taker = Taker(client, series, PLENTY)

        def took() -> Taken:
            taken = taker.take()
            kept.expect(taken.number)
            return taken

        took()
        for page in range(3):
            leader.pwrite(descriptor, page)
            taken = took()
            assert (taken.pages, taken.full, taken.suspects > 0) == (1, False, True)
        keep_last(series, 1)
        leader.pwrite(descriptor, 3)
        taken = took()
        assert (taken.pages, taken.full) == (1, False)
        shutil.rmtree(taken.path)
        leader.pwrite(descriptor, 4)
        assert took().full
    assert kept.check_all() == [3, 4]


def test_another_directory_begins_with_a_checkpoint_in_full(kept: Kept) -> None:
    leader, window = kept.attach()
    kept.take()
    leader.store(window, 1)
    kept.directory = kept.stage.directory / "elsewhere"
    assert kept.take().full
    leader.store(window, 2)
    assert not kept.take().full


def test_another_keeper_goes_on_in_the_directory_with_a_checkpoint_in_full(kept: Kept) -> None:
    leader, window = kept.attach()
    kept.take()
    kept.stage.ask("release", stop=False)
    kept.stage.wait_for_keeper()
    kept.stage.attach(leader)
    leader.store(window, 1)
    taken = kept.take()
    assert (taken.number, taken.full) == (1, True)
    assert len(open_images(taken.path / "image")) == 1


# Clients


def test_one_checkpoint_is_written_at_a_time(kept: Kept) -> None:
    kept.attach()
    with a_client_that_dies(kept, PLENTY):
        with pytest.raises(KeeperError, match="another checkpoint is being written"):
            kept.take()
        assert kept.stage.ask("status")["checkpoints"] == 1
        with pytest.raises(KeeperError, match="cannot be saved: this client has none"):
            kept.stage.ask("save", path="/nowhere", sha256="0" * 64)
    wait_until(lambda: kept.stage.ask("checkpoint", full=False, most_bytes=PLENTY), "it is free")


def test_one_client_writes_to_a_directory_at_a_time(kept: Kept) -> None:
    kept.attach()
    with Series(kept.directory), pytest.raises(BusyError, match="another process writes"):
        kept.take()


def test_a_keeper_of_checkpoints_knows_no_epochs(kept: Kept) -> None:
    kept.attach()
    with pytest.raises(KeeperError, match="takes checkpoints"):
        kept.stage.ask("clear", epoch=0)
    with pytest.raises(KeeperError, match="takes checkpoints"):
        kept.stage.ask("seal")
    kept.take()


def test_a_keeper_of_epochs_takes_no_checkpoints(stage: Stage) -> None:
    leader = stage.program()
    leader.fill(leader.anonymous(PAGES))
    stage.attach(leader)
    with pytest.raises(KeeperError, match="through epochs"):
        stage.ask("checkpoint", full=False, most_bytes=0)
