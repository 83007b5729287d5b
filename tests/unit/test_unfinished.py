"""Why a workload did not get to its end, by what a run has left of it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tidemark.files import read_json
from tidemark.report.unfinished import reasons
from tidemark.steps.report import forget_failures, report_unfinished

if TYPE_CHECKING:
    from pathlib import Path

FAILING = """
from tidemark.errors import KeeperError
from tidemark.steps.job import run
def main(job): raise KeeperError("the keeper is gone")
run(main)
"""
RUNS = [("app", 2)]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return results in which keep and the first step have succeeded."""
    for path in ("app/log/keep.log", "app/e0/log/clear.log", "app/e0/log/merge.log"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "app/e0/cost").mkdir()
    (tmp_path / "app/e0/cost/clear.json").touch()
    return tmp_path


def fail(results: Path, **environment: str) -> None:
    """Run a step that fails."""
    log = results / "app/e0/log/advance.log"
    command = [sys.executable, "-c", FAILING, f"log={log}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (9, "tidemark: error: the keeper is gone\n")


def test_the_sentence_of_the_step_that_failed_is_told(results: Path) -> None:
    fail(results)
    assert reasons(results, "app", 2) == ("advance of epoch 0: the keeper is gone",)


def test_a_log_tells_the_batch_job_and_the_node(results: Path) -> None:
    fail(results, SLURM_JOB_ID="12", SLURMD_NODENAME="n1")
    log = (results / "app/e0/log/advance.log").read_text()
    assert log == "tidemark: batch job 12 on n1\ntidemark: error: the keeper is gone\n"


def test_a_step_that_was_ended_is_told(results: Path) -> None:
    (results / "app/e0/log/advance.log").write_text("tidemark: something\n")
    assert reasons(results, "app", 2) == ("it was ended in advance of epoch 0",)


def test_a_workload_that_did_not_begin_is_told(tmp_path: Path) -> None:
    assert reasons(tmp_path, "app", 2) == ("it did not begin",)


def test_what_is_complete_has_no_reason(results: Path) -> None:
    (results / "app/live.json").touch()
    for epoch in range(2):
        (results / f"app/e{epoch}").mkdir(exist_ok=True)
        (results / f"app/e{epoch}/verify.json").touch()
    assert reasons(results, "app", 2) == ()
    assert report_unfinished(results, RUNS) == []
    assert not (results / "report.html").exists()


def test_the_next_run_starts_without_the_failures_of_the_last(results: Path) -> None:
    fail(results)
    forget_failures(results, RUNS)
    assert reasons(results, "app", 2) == ("it did not begin",)
    assert (results / "app/e0/log/clear.log").exists()


def test_the_report_of_a_run_that_failed_says_why_and_is_made_again(results: Path) -> None:
    fail(results)
    why = "advance of epoch 0: the keeper is gone"
    told = [f"workload app did not get to its end: {why}"]
    assert report_unfinished(results, RUNS) == told
    (workload,) = read_json(results / "summary.json")["workloads"]
    assert (workload["state"], workload["problems"][0]) == ("incomplete", why)
    assert why in (results / "report.html").read_text()
    assert not (results / "summary.parquet").exists()
