"""A signal ends a run, though the exception that it raises be lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tidemark.console import INTERRUPTED, INTERRUPTED_LINE

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = ["env", "--default-signal=HUP,INT,TERM", sys.executable]
"""Whoever starts the tests by nohup(1), or in the background of a script, has them ignored."""

SCHEDULER = """
import signal, time

def schedule():
    try:
        print("begun", flush=True)
        try:
            time.sleep(600)
        except SystemExit:
            pass
        time.sleep(600)
    except SystemExit:
        print("cancelling", flush=True)
        time.sleep(2.5)
        return "cancelled"
"""
RUN = """
import time
from snakemake.scheduling import job_scheduler
from tidemark.interruption import end_on_signals, was_interrupted

end_on_signals()
print(job_scheduler.schedule(), was_interrupted(), flush=True)
time.sleep(1.5)
print("reported", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_scheduler_that_loses_an_interrupt_gets_it_again_and_is_left_alone_when_it_ends(
    number: signal.Signals, tmp_path: Path
) -> None:
    module = tmp_path / "snakemake" / "scheduling" / "job_scheduler.py"
    module.parent.mkdir(parents=True)
    module.write_text(SCHEDULER)
    for package in (module.parent, module.parent.parent):
        (package / "__init__.py").touch()
    command = [*PYTHON, "-c", RUN]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        assert run.stdout.readline() == "begun\n"
        run.send_signal(number)
        assert run.communicate()[0] == "cancelling\ncancelled True\nreported\n"
    assert run.returncode == 0


TEARING_DOWN = """
import asyncio, signal, sys
sys.modules["snakemake.workflow"] = sys.modules[__name__]
__name__ = "snakemake.workflow"
from tidemark.interruption import end_on_signals

async def waits_for_ever():
    while True:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            pass

def tear_down():
    asyncio.run(asyncio.wait_for(waits_for_ever(), None))

end_on_signals()
try:
    signal.raise_signal(signal.SIGTERM)
except SystemExit:
    tear_down()
"""


def test_a_run_that_waits_for_a_task_that_is_lost_ends_all_the_same() -> None:
    done = subprocess.run(
        [*PYTHON, "-c", TEARING_DOWN], capture_output=True, text=True, check=False
    )
    assert done.returncode == INTERRUPTED
    assert done.stderr == f"{INTERRUPTED_LINE}\n"


REWORDED = """
import signal, sys
from tidemark.interruption import end_on_signals

end_on_signals()
try:
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException as error:
        raise ValueError("in a function of the workflow") from error
except Exception:
    sys.exit(1)
"""


def test_a_run_that_makes_an_error_of_an_interruption_ends_with_its_code() -> None:
    done = subprocess.run([*PYTHON, "-c", REWORDED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (INTERRUPTED, f"{INTERRUPTED_LINE}\n")
