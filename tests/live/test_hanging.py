"""Whoever hangs, a client or the keeper: nobody stands for longer than a bound because of that."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from kept import PLENTY, Kept
from system import is_alive, kill, state, status, wait_until

from tidemark.checkpoint.series import Series
from tidemark.checkpoint.take import Taker
from tidemark.errors import KeeperError
from tidemark.keeper.client import Client
from tidemark.keeper.ending import end_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stage import Stage

HOLD = 2.0

_TAKES = """
import pathlib, sys
from tidemark.checkpoint.keepers import connect
client = connect(pathlib.Path(sys.argv[1]))
client.ask("checkpoint", full=False, most_bytes=int(sys.argv[2]))
print("taken", flush=True)
sys.stdin.readline()
try:
    client.ask("save", path="/nowhere", sha256="0" * 64)
except Exception as error:
    print(error, flush=True)
"""
"""A client that takes a checkpoint, and says nothing more until it gets a line."""


@contextlib.contextmanager
def a_silent_client(kept: Kept, most_bytes: int) -> Iterator[subprocess.Popen[str]]:
    """Have a client take a checkpoint, and say nothing."""
    command = [sys.executable, "-c", _TAKES, str(kept.stage.keeper_json), str(most_bytes)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True) as client:  # type: ignore[call-overload]
        assert client.stdout.readline() == "taken\n"
        yield client
        client.kill()


def said_by(client: subprocess.Popen[str]) -> str:
    """Have a silent client go on; return what it is told."""
    assert client.stdin is not None
    assert client.stdout is not None
    client.send_signal(signal.SIGCONT)
    client.stdin.write("go on\n")
    client.stdin.flush()
    return client.stdout.readline()


def wait_for_end(kept: Kept) -> str:
    """Wait until the keeper has ended; return why, as clients are told."""
    kept.stage.wait_for_keeper()
    return end_of(kept.stage.directory, wait=True)


# Clients

stopped_or_asleep = pytest.mark.parametrize(
    "how", [signal.SIGSTOP, signal.SIGCONT], ids=["stopped", "asleep"]
)


@stopped_or_asleep
def test_a_client_for_whom_it_stands_has_no_longer_than_it_may(
    kept: Kept, how: signal.Signals
) -> None:
    leader, window = kept.attach(hold=HOLD)
    kept.take()
    leader.store(window, 1)
    with a_silent_client(kept, 0) as client:
        client.send_signal(how)
        assert not kept.stage.runs()
        wait_until(kept.stage.runs, "it runs again")
        leader.store(window, 2)
        said = said_by(client)
        assert "may stand for 2 s at most, and runs again; raise --max-memory" in said
    taken = kept.take()
    assert (taken.pages, kept.manifest(taken.number)["suspects"]) == (2, {"unsaved": 1})
    assert "a checkpoint was not written while the workload stood (2 s)" in taken.mishaps
    assert kept.take().mishaps == ()


def test_what_was_read_while_the_workload_ran_again_becomes_no_checkpoint(kept: Kept) -> None:
    leader, window = kept.attach(hold=HOLD)

    class Waiting(Series):
        def next_number(self) -> int:
            wait_until(kept.stage.runs, "it runs again")
            leader.store(window, 1)
            return super().next_number()

    with kept.stage.client() as client, Waiting(kept.directory) as series:
        with pytest.raises(KeeperError, match="cannot be saved: the workload may stand for 2 s"):
            Taker(client, series, 0).take()
        assert series.numbers() == []
    assert kept.take().full


@stopped_or_asleep
def test_a_client_that_falls_silent_keeps_no_other_from_a_checkpoint(
    kept: Kept, how: signal.Signals
) -> None:
    leader, window = kept.attach(hold=HOLD)
    kept.take()
    leader.store(window, 1)
    with a_silent_client(kept, PLENTY) as client:
        client.send_signal(how)
        with pytest.raises(KeeperError, match="another checkpoint is being written"):
            kept.take()
        leader.store(window, 2)
        taken = []
        with contextlib.suppress(KeeperError):
            taken.append(kept.take())

        def overtakes() -> bool:
            with contextlib.suppress(KeeperError):
                taken.append(kept.take())
            return bool(taken)

        wait_until(overtakes, "the silent one is overtaken")
        assert taken[0].pages == 2
        assert "another one was taken" in said_by(client)


def test_a_client_that_is_overtaken_keeps_what_it_was_given(kept: Kept) -> None:
    leader, window = kept.attach(hold=1.0)
    with kept.stage.client() as silent:
        answer, descriptors = silent.ask("checkpoint", full=True, most_bytes=PLENTY)
        offset = next(offset for offset, runs in answer["regions"][0]["layers"] if runs)
        before = os.pread(descriptors[0], window.bytes, offset)
        assert before == kept.memory()[0]
        leader.fill(window)

        def overtakes() -> bool:
            with contextlib.suppress(KeeperError):
                return kept.take().full
            return False

        wait_until(overtakes, "the silent one is overtaken")
        assert os.pread(descriptors[0], window.bytes, offset) == before
        os.close(descriptors[0])


# The keeper


def test_a_keeper_that_hangs_while_all_stands_is_ended_and_all_runs(kept: Kept) -> None:
    leader, window = kept.attach(hold=HOLD)
    with a_silent_client(kept, 0):
        assert not kept.stage.runs()
        os.kill(kept.stage.keeper["pid"], signal.SIGSTOP)
        why = wait_for_end(kept)
    assert why == "the workload has stood for 2 s, so it was killed, and the workload runs on"
    wait_until(kept.stage.runs, "it runs again")
    leader.store(window, 1)
    assert status(leader.pid, "TracerPid") == "0"
    with pytest.raises(KeeperError) as gone:
        kept.stage.ask("status")
    assert f"is gone ({why}); " in str(gone.value)
    assert why in (kept.stage.directory / "keeper.log").read_text()


@pytest.mark.parametrize("deed", ["fork", "thread", "madvise", "exit"])
def test_a_keeper_that_hangs_leaves_nobody_waiting(kept: Kept, deed: str) -> None:
    leader, window = kept.attach(hold=HOLD)
    other = leader.fork()
    kept.take()
    os.kill(kept.stage.keeper["pid"], signal.SIGSTOP)
    if deed == "madvise":
        leader.call("madvise", window.at(1), window.bytes // 4, 9)
    elif deed == "exit":
        other.exit(3)
        assert leader.reap(other) == 3 << 8
    else:
        leader.fork(deed)
    assert "the keeper did not look who waits for it for 5 s" in wait_for_end(kept)
    leader.store(window, 1)


def test_a_keeper_that_has_nothing_to_do_is_left_alone(kept: Kept) -> None:
    leader, window = kept.attach(hold=1.0)
    kept.take()
    watchdog = int(status(kept.stage.keeper["pid"], "PPid"))
    ticks = [switches(watchdog)]
    wait_until(lambda: switches(watchdog) > ticks[0] + 12, "the watchdog looks a dozen times")
    leader.store(window, 1)
    assert kept.take().pages == 1


def switches(pid: int) -> int:
    """Return how often a process has gone to sleep."""
    return int(status(pid, "voluntary_ctxt_switches"))


def test_a_keeper_goes_on_without_its_watchdog(kept: Kept) -> None:
    leader, window = kept.attach()
    kept.take()
    kill(int(status(kept.stage.keeper["pid"], "PPid")))
    leader.store(window, 1)
    assert kept.take().pages == 1


# How it has ended


def test_a_keeper_that_is_killed_has_that_said_by_its_watchdog(kept: Kept) -> None:
    kept.attach()
    kill(kept.stage.keeper["pid"])
    assert wait_for_end(kept) == "it was killed by signal 9 (Killed)"
    assert "has ended: it was killed by signal 9 (Killed)" in log_of(kept)


@pytest.mark.parametrize("how", ["signal", "workload", "stop", "release"])
def test_a_keeper_says_why_it_ends(kept: Kept, how: str) -> None:
    leader, _ = kept.attach()
    match how:
        case "signal":
            os.kill(kept.stage.keeper["pid"], signal.SIGTERM)
            why = "it was told to end by SIGTERM"
        case "workload":
            leader.exit(3)
            why = "the workload exited with code 3"
        case "stop":
            kept.stage.stop()
            why = "a client told it to stop"
        case _:
            kept.stage.ask("release", stop=False)
            why = "it was asked to let the workload go"
    assert wait_for_end(kept) == why
    assert f"has ended: {why}" in log_of(kept)


def test_status_tells_of_keepers_that_have_ended(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runtime").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    leader, _ = kept.program()
    assert kept.run("keep", str(leader.pid), "--name", "it").returncode == 0
    keeper = int(status(leader.pid, "TracerPid"))
    kill(keeper)
    wait_until(lambda: not is_alive(keeper), "its end")
    wait_until(
        lambda: (
            kept.run("status").stdout
            == f"it  kept no more, keeper {keeper} has ended: it was killed by signal 9 (Killed)\n"
        ),
        "its end is told",
    )
    wait_until(lambda: state(leader.pid) == "S", "the process runs on")
    assert kept.run("keep", str(leader.pid), "--name", "it").returncode == 0
    assert "kept no more" not in kept.run("status").stdout
    assert kept.run("release", "it").returncode == 0
    assert kept.run("status").stdout == "nothing is kept\n"


def test_a_keeper_that_has_ended_is_told_of_until_it_is_released(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runtime").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    leader, _ = kept.program()
    assert kept.run("keep", str(leader.pid), "--name", "it").returncode == 0
    leader.exit(3)
    why = "the workload exited with code 3"
    wait_until(lambda: why in kept.run("status").stdout, "its end is told")
    assert kept.run("release", "it").stdout == f"it: its keeper had ended: {why}\n"
    assert kept.run("status").stdout == "nothing is kept\n"
    assert kept.run("release", "it").returncode == 9


def test_a_program_that_cannot_be_kept_leaves_the_reason_in_the_log(stage: Stage) -> None:
    kept = Kept(stage)
    leader, _ = kept.attach()
    with pytest.raises(Exception, match="traced by process"):
        stage.launch(attach={"pid": leader.pid, "pidfile": None})
    assert "traced by process" in log_of(kept)
    kill(stage.keeper["pid"])


def log_of(kept: Kept) -> str:
    """Return what stands in the keeper's log."""
    return (kept.stage.directory / "keeper.log").read_text()


def test_a_client_waits_for_no_keeper_that_has_ended(kept: Kept) -> None:
    kept.attach()
    with Client(kept.stage.keeper_json) as client:
        kept.stage.stop()
        with pytest.raises(KeeperError, match="a client told it to stop"):
            client.wait(None)
