"""The keeper: whom it obeys, in which order, and what becomes of the workload when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from system import PATIENCE, is_alive, kill, maps, state, status, wait_until

from tidemark.errors import KeeperError
from tidemark.keeper.client import Client
from tidemark.keeper.protocol import SocketPath

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from actors import Actor, Window
    from stage import Stage

PAGES = 16
MOMENTS = ["begin", "clear", "advance", "collect", "open"]
"""When a keeper may die: after the step, or in the middle of advance."""


def prepare(stage: Stage) -> tuple[Actor, Window]:
    leader = stage.start()
    window = leader.anonymous(PAGES)
    leader.fill(window)
    leader.fork().fork("thread")
    stage.ready()
    return leader, window


def attach(stage: Stage) -> tuple[Actor, Window]:
    leader = stage.program()
    window = leader.anonymous(PAGES)
    leader.fill(window)
    leader.fork().fork("thread")
    stage.attach(leader)
    return leader, window


def go_to(stage: Stage, moment: str) -> None:
    """Take the first epoch to a moment; advance is left in its middle."""
    for step in MOMENTS[1 : MOMENTS.index(moment) + 1]:
        if step == moment == "advance":
            begin_advance(stage)
        elif step == "advance":
            advance = begin_advance(stage)
            stage.open_gate()
            advance.result()
        else:
            stage.ask(step, epoch=0)


def begin_advance(stage: Stage) -> Future[dict[str, Any]]:
    """Let the workload run in the first epoch, until the gate is opened."""
    advance = stage.begin("advance", epoch=0)
    wait_until(stage.runs, "the workload runs")
    return advance


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "1000"]) as process:
        yield process
        process.kill()


# The socket


def test_only_the_owner_may_use_the_socket(stage: Stage) -> None:
    prepare(stage)
    path = stage.directory / stage.keeper["socket"]
    assert path.is_socket()
    assert path.stat().st_mode & 0o777 == 0o600
    stage.stop()
    assert not path.exists()


def test_the_path_of_the_socket_may_be_of_any_length(stage: Stage) -> None:
    short = stage.directory
    stage.directory = short / ("d" * 100) / ("e" * 100)
    stage.directory.mkdir(parents=True)
    prepare(stage)
    assert len(str(stage.directory / stage.keeper["socket"])) > 200
    with stage.epoch():
        pass
    stage.stop()


def test_one_client_after_the_other_is_served(stage: Stage) -> None:
    prepare(stage)
    with Client(stage.keeper_json) as first:
        first.ask("clear", epoch=0)
    with Client(stage.keeper_json) as second:
        assert second.ask("status")[0]["epoch"] == 0


def test_two_clients_at_a_time_are_served(stage: Stage) -> None:
    prepare(stage)
    with Client(stage.keeper_json) as first, Client(stage.keeper_json) as second:
        assert second.ask("status")[0]["epoch"] == -1
        first.ask("clear", epoch=0)
        assert second.ask("status")[0]["epoch"] == 0
        assert first.ask("status")[0]["epoch"] == 0


def test_while_the_workload_runs_the_keeper_says_that_it_is_busy(stage: Stage) -> None:
    leader, window = prepare(stage)
    go_to(stage, "clear")
    advance = begin_advance(stage)
    with Client(stage.keeper_json) as other:
        assert other.ask("status")[0]["epoch"] == 0
        for step in ("clear", "advance", "collect", "open"):
            with pytest.raises(KeeperError, match="busy with step advance of epoch 0"):
                other.ask(step, epoch=0)
        with pytest.raises(KeeperError, match="busy"):
            other.ask("seal")
        leader.store(window, 3)
        stage.open_gate()
        advance.result()
        other.ask("collect", epoch=0)


def test_a_client_that_says_nothing_keeps_nobody_waiting(stage: Stage) -> None:
    prepare(stage)
    with Client(stage.keeper_json):
        stage.ask("clear", epoch=0)
        running = stage.begin("advance", epoch=0)
        with Client(stage.keeper_json):
            stage.open_gate()
            running.result()
        os.kill(stage.keeper["pid"], signal.SIGTERM)
        stage.wait_for_keeper()


def said(length: int, body: bytes, descriptors: int = 0) -> bytes:
    return struct.pack("<QI", length, descriptors) + body


def raw(stage: Stage) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with SocketPath(stage.directory / stage.keeper["socket"]) as address:
        peer.connect(address)
    return peer


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"\x01",
        said(100, b'{"step"'),
        said(4, b"[1,2"),
        said(2, b"[]"),
        said(2, b"\xff\xfe"),
        said(1 << 60, b""),
        said(2, b"{}", descriptors=3),
        said(17, b'{"step": "clear"}'),
        said(16, b'{"step": "leap"}'),
        said(15, b'{"step": ["x"]}'),
    ],
)
def test_a_client_that_talks_nonsense_harms_nothing(stage: Stage, words: bytes) -> None:
    leader, window = prepare(stage)
    with raw(stage) as peer:
        peer.sendall(words)
    with raw(stage) as peer:
        peer.sendall(words)
        peer.shutdown(socket.SHUT_WR)
        peer.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionResetError):
            peer.recv(4096)
    with stage.epoch():
        leader.store(window, 1)


def test_a_client_that_dies_within_advance_breaks_nothing(stage: Stage) -> None:
    leader, window = prepare(stage)
    stage.ask("clear", epoch=0)
    code = (
        "import pathlib, sys; from tidemark.keeper.client import Client; "
        "Client(pathlib.Path(sys.argv[1])).ask('advance', epoch=0)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(stage.keeper_json)]) as client:
        wait_until(stage.runs, "the workload runs")
        client.kill()
    leader.store(window, 1)
    stage.open_gate()
    wait_until(lambda: not stage.runs(), "the epoch ends")
    assert stage.ask("collect", epoch=0)["regions"]


# The order of the steps


@pytest.mark.parametrize(
    ("done", "asked"),
    [
        ("begin", ("advance", 0)),
        ("begin", ("collect", 0)),
        ("begin", ("open", 0)),
        ("begin", ("clear", 1)),
        ("clear", ("clear", 0)),
        ("clear", ("clear", 1)),
        ("clear", ("collect", 0)),
        ("clear", ("advance", 1)),
        ("collect", ("advance", 0)),
        ("collect", ("clear", 0)),
        ("collect", ("clear", 2)),
        ("open", ("collect", 0)),
        ("open", ("advance", 1)),
    ],
)
def test_a_step_out_of_order_is_refused_and_changes_nothing(
    stage: Stage, done: str, asked: tuple[str, int]
) -> None:
    leader, window = prepare(stage)
    go_to(stage, done)
    before = stage.ask("status")
    with pytest.raises(KeeperError) as refused:
        stage.ask(asked[0], epoch=asked[1])
    assert refused.value.exit_code == 9
    assert f"step {asked[0]} of epoch {asked[1]} was asked for out of order" in str(refused.value)
    assert stage.ask("status") == before
    rest = MOMENTS[MOMENTS.index(done) + 1 :]
    for step in rest:
        if step == "advance":
            running = stage.begin("advance", epoch=0)
            leader.store(window, 1)
            stage.open_gate()
            running.result()
        else:
            stage.ask(step, epoch=0)
    stage.ask("clear", epoch=1)


@pytest.mark.parametrize("step", ["collect", "open"])
def test_a_step_that_only_looks_may_be_repeated(stage: Stage, step: str) -> None:
    prepare(stage)
    go_to(stage, step)
    assert comparable(stage.ask(step, epoch=0)) == comparable(stage.ask(step, epoch=0))


def comparable(answer: dict[str, object]) -> str:
    return json.dumps({name: value for name, value in answer.items() if name != "sequence"})


# Its end


@pytest.mark.parametrize("how", ["stop", "SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_workload_that_was_started_ends_with_its_keeper(
    stage: Stage, how: str, moment: str
) -> None:
    prepare(stage)
    go_to(stage, moment)
    if how == "stop":
        stage.stop()
    else:
        os.kill(stage.keeper["pid"], getattr(signal, how))
        stage.wait_for_keeper()
    stage.check_nothing_left()
    if how != "SIGKILL":
        assert not (stage.directory / stage.keeper["socket"]).exists()


@pytest.mark.parametrize("how", ["stop", "SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_workload_that_was_attached_to_outlives_its_keeper_unharmed(
    stage: Stage, how: str, moment: str
) -> None:
    _, window = attach(stage)
    go_to(stage, moment)
    if how == "stop":
        stage.stop()
    else:
        os.kill(stage.keeper["pid"], getattr(signal, how))
        stage.wait_for_keeper()
    for actor in stage.hall.actors():
        assert status(actor.tid, "TracerPid") == "0"
        wait_until(partial(is_at_rest, actor.tid), "it runs on")
        actor.store(window, 2)
        assert " uw" not in maps(actor.pid)


def is_at_rest(tid: int) -> bool:
    return state(tid) == "S"


@pytest.mark.parametrize("kept", ["started", "attached"])
def test_a_keeper_ends_with_its_owner(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    sleeper: subprocess.Popen[bytes],
    kept: str,
) -> None:
    monkeypatch.setenv("TIDEMARK_OWNER_PID", str(sleeper.pid))
    leader, window = prepare(stage) if kept == "started" else attach(stage)
    go_to(stage, "advance")
    sleeper.kill()
    stage.wait_for_keeper()
    if kept == "started":
        stage.check_nothing_left()
    else:
        leader.store(window, 1)


def test_a_keeper_does_not_start_for_an_owner_that_is_gone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, sleeper: subprocess.Popen[bytes]
) -> None:
    sleeper.kill()
    sleeper.wait()
    monkeypatch.setenv("TIDEMARK_OWNER_PID", str(sleeper.pid))
    with pytest.raises(KeeperError) as refused:
        stage.launch(run=["/bin/sleep", "1000"])
    assert f"the owner, process {sleeper.pid}, has gone already" in str(refused.value)
    stage.check_nothing_left()


def test_a_keeper_that_is_told_to_end_while_its_workload_gets_ready_ends_with_it(
    stage: Stage,
) -> None:
    stage.start()
    (keeper,) = [pid for pid in stage.left_over() if "keeper.main" in command_line(pid)]
    kill(keeper, signal.SIGTERM)
    with pytest.raises(KeeperError, match="the keeper ended at once"):
        stage.launched()
    stage.check_nothing_left()


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def test_a_client_of_a_keeper_that_is_gone_says_so(stage: Stage) -> None:
    prepare(stage)
    stage.stop()
    with pytest.raises(KeeperError) as refused:
        stage.ask("clear", epoch=0)
    assert str(refused.value) == (
        f"the keeper of workload stage (process {stage.keeper['pid']}) is gone "
        "(a client told it to stop); run the workload's live steps again"
    )


def test_a_client_whose_keeper_dies_within_a_step_says_so(stage: Stage) -> None:
    prepare(stage)
    go_to(stage, "clear")
    advance = begin_advance(stage)
    kill(stage.keeper["pid"])
    with pytest.raises(KeeperError, match="is gone"):
        advance.result()
    stage.wait_for_keeper()


def test_a_debugger_can_take_over_from_a_keeper_that_is_gone(stage: Stage) -> None:
    gdb = shutil.which("gdb")
    if gdb is None:
        pytest.skip("gdb is not installed")
    leader, window = attach(stage)
    go_to(stage, "clear")
    kill(stage.keeper["pid"])
    stage.wait_for_keeper()
    done = subprocess.run(
        [gdb, "-q", "-nx", "-batch", "-p", str(leader.pid), "-ex", "detach"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    leader.store(window, 1)
    assert is_alive(leader.pid)
