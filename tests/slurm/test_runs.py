"""A run as one batch job, again and again, and runs that are cancelled."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from cluster import PATIENCE, wait_for
from pipeline import GRID
from test_failures import RUN, begun

if TYPE_CHECKING:
    from cluster import Cluster
    from pipeline import Pipeline

LONG: dict[str, Any] = {
    "run": ["python3", "-c", "import mmap, time; m = mmap.mmap(-1, 4096); time.sleep(1000)"],
    "epochs": 2,
    "advance": {"seconds": 100},
}
WHOLE = ("--partition=main", "--cpus-per-task=2", "--mem=1500", "--output=job.log")


def test_a_run_is_one_batch_job_and_each_night_starts_what_changed(
    cluster: Cluster, pipeline: Pipeline
) -> None:
    pipeline.configure(grid=GRID)
    nightly = "workflow/profiles/slurm/nightly.sh"
    words = ("--partition=main", "--export=ALL,AGAIN=now+1", "--output=night-%j.log", nightly)
    first = cluster.submit(*words, cwd=pipeline.directory)
    try:
        assert cluster.finish(first)["JobState"] == "COMPLETED"
        lives = pipeline.lives()
        assert set(lives) == {"grid"}
        assert cluster.finish(first + 1)["JobState"] == "COMPLETED"
        again = (pipeline.directory / f"slurm-{first + 1}.out").read_text()
        assert "Nothing to be done" in again
        assert pipeline.lives() == lives
    finally:
        cluster.ask("scancel", "--name=tidemark-nightly")


def test_a_batch_job_that_is_cancelled_leaves_nothing_and_the_next_run_is_clean(
    cluster: Cluster, pipeline: Pipeline
) -> None:
    pipeline.configure(grid=GRID, long=LONG)
    wrapped = "exec tidemark run --cores 2"
    job = cluster.submit(*WHOLE, "--wrap", wrapped, cwd=pipeline.directory)
    wait_for((pipeline.results / "long/e0/log/advance.log").exists, "its first epoch")
    busy = cluster.run("tidemark", "run", cwd=pipeline.directory)
    assert busy.returncode == 12
    assert f"batch job {job}) works on results; wait for it" in busy.stdout
    assert (pipeline.results / "run/long/keeper.json").exists()
    cluster.ask("scancel", job)
    assert cluster.finish(job)["JobState"] == "CANCELLED"
    wait_for(lambda: not pipeline.processes(), "the end of all processes")
    pipeline.configure(grid=GRID, long=LONG | {"advance": {"seconds": 1}})
    job = cluster.submit(*WHOLE, "--wrap", wrapped, cwd=pipeline.directory)
    assert cluster.finish(job)["JobState"] == "COMPLETED"


def test_a_submitted_run_that_is_interrupted_takes_its_batch_jobs_along(
    cluster: Cluster, pipeline: Pipeline
) -> None:
    pipeline.configure(long=LONG)
    run = begun(cluster, pipeline)
    wait_for((pipeline.results / "long/e0/log/advance.log").exists, "its first epoch")
    # A second one, which finds out about the first before it touches anything.
    busy = cluster.run(*RUN, cwd=pipeline.directory)
    assert busy.returncode == 12
    assert "works on results; wait for it" in busy.stdout
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(PATIENCE) != 0
    wait_for(lambda: not cluster.jobs("running", "pending", "completing"), "the end of its jobs")
    wait_for(lambda: not pipeline.processes(), "the end of all processes")
    assert not (pipeline.results / "long/live.json").exists()
    pipeline.configure(grid=GRID)
    again = pipeline.run("--nolock")
    assert again.code == 0, again.output


def test_batch_jobs_of_a_run_that_was_killed_are_named(
    cluster: Cluster, pipeline: Pipeline
) -> None:
    pipeline.configure(long=LONG)
    run = begun(cluster, pipeline)
    wait_for((pipeline.results / "long/e0/log/advance.log").exists, "its first epoch")
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    (job,) = cluster.jobs("running")
    again = cluster.run(*RUN, cwd=pipeline.directory)
    assert again.returncode == 12, again.stdout
    assert f"still work on these results; wait for them, or: scancel {job}" in again.stdout
    cluster.ask("scancel", job)
    wait_for(lambda: not pipeline.processes(), "the end of all processes")
