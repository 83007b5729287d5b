"""Ctrl-C, signals and crashes in the middle: nothing stays behind, and the next run is clean."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pipeline import GRID

from tidemark.console import INTERRUPTED, INTERRUPTED_LINE
from tidemark.proc import state_of, status_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pipeline import Pipeline

pytestmark = pytest.mark.live

KV: dict[str, Any] = {
    "run": ["python3", "workloads/kv.py", "--clients", 2, "--slots", 256],
    "epochs": 3,
    "advance": {"seconds": 1},
    "ready": {"output": "^ready"},
}
PATIENCE = 60

COUNTER = """
import mmap, time
memory = mmap.mmap(-1, 1 << 20)
while True:
    memory[0:8] = (int.from_bytes(memory[0:8], "little") + 1).to_bytes(8, "little")
    print(int.from_bytes(memory[0:8], "little"), flush=True)
    time.sleep(0.01)
"""


def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE} s"
        time.sleep(0.02)


@contextmanager
def begun(pipeline: Pipeline, *, command: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """Start a run in a terminal's place: a process group of its own."""
    log = (pipeline.directory / "run.log").open("wb")
    run = subprocess.Popen(
        command or pipeline.command(),
        cwd=pipeline.directory,
        env=pipeline.environment(),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield run
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        log.close()


def keeper_pid(pipeline: Pipeline) -> int:
    """Return the process id of the only keeper."""
    (path,) = pipeline.results.glob("run/*/keeper.json")
    return int(json.loads(path.read_text())["pid"])


def assert_told(pipeline: Pipeline) -> None:
    """Assert that the run has said at its end that it was interrupted, and nothing else of it."""
    said = (pipeline.directory / "run.log").read_text()
    assert said.splitlines()[-1] == INTERRUPTED_LINE
    assert "did not complete" not in said


MOMENTS = ["run/kv/keeper.json", "kv/e0/clear.json", "kv/e1/clear.json", "kv/e1/scan.pb"]
ENDINGS: dict[str, Callable[[subprocess.Popen[bytes]], None]] = {
    "Ctrl-C": lambda run: os.killpg(run.pid, signal.SIGINT),
    "SIGINT": lambda run: run.send_signal(signal.SIGINT),
    "SIGTERM": lambda run: run.send_signal(signal.SIGTERM),
    "SIGKILL": lambda run: run.send_signal(signal.SIGKILL),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_run_that_is_ended_leaves_no_process_and_the_next_is_clean(
    pipeline: Pipeline, ending: str, moment: str
) -> None:
    pipeline.configure(kv=KV)
    with begun(pipeline) as run:
        wait_for((pipeline.results / moment).exists, moment)
        ENDINGS[ending](run)
        assert run.wait() == (-signal.SIGKILL if ending == "SIGKILL" else INTERRUPTED)
        wait_for(lambda: not pipeline.processes(), "the end of all processes")
    if ending != "SIGKILL":
        assert_told(pipeline)
    pipeline.configure(grid=GRID)  # quicker, and of the same directory
    again = pipeline.run("--nolock")
    assert again.code == 0, again.output
    assert not list(pipeline.results.glob("run/*/keeper.json"))


@pytest.mark.parametrize("seconds", [0.8, 1.2, 1.8, 2.7, 4.0, 6.0])
@pytest.mark.parametrize("ending", ["Ctrl-C", "SIGTERM"])
def test_tidemark_run_is_interrupted_at_any_moment_and_says_so(
    pipeline: Pipeline, ending: str, seconds: float
) -> None:
    pipeline.configure(kv=KV | {"epochs": 30})
    command = [str(Path(sys.executable).with_name("tidemark")), "run", "--cores", "2"]
    with begun(pipeline, command=command) as run:
        time.sleep(seconds)  # any moment will do
        ENDINGS[ending](run)
        assert run.wait() == INTERRUPTED
        wait_for(lambda: not pipeline.processes(), "the end of all processes")
    assert_told(pipeline)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_keeper_that_is_killed_fails_the_run_with_a_sentence(
    pipeline: Pipeline, moment: str
) -> None:
    pipeline.configure(kv=KV)
    with begun(pipeline) as run:
        wait_for((pipeline.results / moment).exists, moment)
        os.kill(keeper_pid(pipeline), signal.SIGKILL)
        assert run.wait() != 0
        wait_for(lambda: not pipeline.processes(), "the end of all processes")
    assert "the keeper of workload kv" in (pipeline.directory / "run.log").read_text()
    again = pipeline.run()
    assert again.code == 0, again.output


@contextmanager
def counter() -> Iterator[subprocess.Popen[bytes]]:
    """Start a program that counts in shared memory, in nobody's name."""
    program = subprocess.Popen([sys.executable, "-c", COUNTER], stdout=subprocess.PIPE)
    try:
        yield program
    finally:
        program.kill()
        program.wait()


def is_running_on(program: subprocess.Popen[bytes]) -> bool:
    """Return whether a program is alone, and counts."""
    assert program.stdout is not None
    alone = status_field(program.pid, "TracerPid") == "0"
    stopped = state_of(program.pid) in {"t", "T"}
    return alone and not stopped and bool(program.stdout.read1())  # type: ignore[attr-defined]


@pytest.mark.parametrize("ending", [*ENDINGS, "SIGKILL of the keeper"])
def test_a_process_that_was_attached_to_runs_on_whatever_happens_to_us(
    pipeline: Pipeline, ending: str
) -> None:
    with counter() as program:
        attach = {"attach": {"pid": program.pid}, "epochs": 3, "advance": {"seconds": 1}}
        pipeline.configure(counter=attach)
        with begun(pipeline) as run:
            wait_for((pipeline.results / "counter/e1/clear.json").exists, "the second epoch")
            if ending in ENDINGS:
                ENDINGS[ending](run)
            else:
                os.kill(keeper_pid(pipeline), signal.SIGKILL)
            assert run.wait() != 0
            wait_for(lambda: is_running_on(program), "the program's running on")
            wait_for(lambda: not pipeline.processes(), "the end of all processes of ours")
        assert program.poll() is None


def test_a_process_that_was_attached_to_runs_on_after_a_whole_run(pipeline: Pipeline) -> None:
    with counter() as program:
        pidfile = pipeline.directory / "counter.pid"
        pidfile.write_text(f"{program.pid}\n")
        attach = {"attach": {"pidfile": str(pidfile)}, "epochs": 2, "advance": {"seconds": 0.2}}
        pipeline.configure(counter=attach)
        done = pipeline.run()
        assert done.code == 0, done.output
        assert is_running_on(program)
        verify = pipeline.json("counter/e1/verify.json")
        assert (verify["different"], verify["missed"], verify["changed"]) == (0, 0, 1)
        assert pipeline.json("counter/live.json")["exit"] is None
    assert Path(f"/proc/{program.pid}").exists() is False
