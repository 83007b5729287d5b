"""A client that is stopped (Ctrl-Z) does not have the workload stand with it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from kept import PLENTY, Kept

if TYPE_CHECKING:
    from stage import Stage

_STOPPED = """
import os, pathlib, signal, sys
from tidemark.checkpoint.keepers import connect
from tidemark.checkpoint.series import Series
from tidemark.checkpoint.take import Taker

def state(what):
    fields = pathlib.Path(f"/proc/{sys.argv[4]}/stat").read_text().rpartition(")")[2].split()
    print(what, "stands" if fields[0] == "t" else "runs", flush=True)

def begun(_):
    state("written")
    os.kill(os.getpid(), signal.SIGTSTP)

signal.signal(signal.SIGTSTP, lambda *_: state("stopped"))
with Series(pathlib.Path(sys.argv[2])) as series:
    client = connect(pathlib.Path(sys.argv[1]))
    taken = Taker(client, series, int(sys.argv[3])).take(begun)
print("held", taken.held)
"""
"""A client to which Ctrl-Z is sent as it begins to write."""


@pytest.mark.parametrize(
    ("most_bytes", "said"),
    [
        (0, ["written stands", "stopped runs", "held True"]),
        (PLENTY, ["written runs", "stopped runs", "held False"]),
    ],
    ids=["beyond-the-memory", "within-the-memory"],
)
def test_a_client_is_stopped_when_the_workload_runs(
    stage: Stage, most_bytes: int, said: list[str]
) -> None:
    kept = Kept(stage)
    leader, _ = kept.attach()
    words = [str(stage.keeper_json), str(kept.directory), str(most_bytes), str(leader.pid)]
    done = subprocess.run(
        [sys.executable, "-c", _STOPPED, *words], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == said
