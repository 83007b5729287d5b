"""A run as one batch job, again and again, and runs that are cancelled."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from cluster import PATIENCE, wait_for
from documented import RUN, documented
from pipeline import GRID
from test_failures import SECONDS, begun

from tidemark import proc

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from cluster import Cluster
    from pipeline import Pipeline

LONG = SECONDS | {"advance": {"seconds": 100}}


def test_a_run_is_one_batch_job_and_each_night_starts_what_changed(
    cluster: Cluster, pipeline: Pipeline
) -> None:
    pipeline.configure(grid=GRID)
    _, *words = documented("sbatch --partition=main workflow")
    soon = ("--export=ALL,AGAIN=now+1", "--output=night-%j.log")
    first = cluster.submit(*soon, *words, cwd=pipeline.directory)
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
    _, *words = documented("sbatch --partition=main --cpus-per-task")
    job = cluster.submit(*words, cwd=pipeline.directory)
    wait_for((pipeline.results / "long/e0/log/advance.log").exists, "its first epoch")
    busy = cluster.run("tidemark", "run", cwd=pipeline.directory)
    assert busy.returncode == 12
    assert f"batch job {job}) works on results; wait for it" in busy.stdout
    assert (pipeline.results / "run/long/keeper.json").exists()
    cluster.ask("scancel", job)
    assert cluster.finish(job)["JobState"] == "CANCELLED"
    wait_for(lambda: not pipeline.processes(), "the end of all processes")
    pipeline.configure(grid=GRID, long=LONG | {"advance": {"seconds": 1}})
    job = cluster.submit(*words, cwd=pipeline.directory)
    assert cluster.finish(job)["JobState"] == "COMPLETED"


def advancing(cluster: Cluster, pipeline: Pipeline) -> subprocess.Popen[bytes]:
    """Submit a run of a workload that takes long; return it in its first epoch."""
    pipeline.configure(long=LONG)
    run = begun(cluster, pipeline)
    wait_for((pipeline.results / "long/e0/log/advance.log").exists, "its first epoch")
    return run


def test_a_submitted_run_that_is_interrupted_takes_its_batch_jobs_along(
    cluster: Cluster, pipeline: Pipeline
) -> None:
    run = advancing(cluster, pipeline)
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


def test_batch_jobs_of_a_run_that_was_killed_are_named_and_own_their_keepers(
    cluster: Cluster, pipeline: Pipeline
) -> None:
    run = advancing(cluster, pipeline)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    (job,) = cluster.jobs("running")
    again = cluster.run(*RUN, cwd=pipeline.directory)
    assert again.returncode == 12, again.stdout
    assert f"still work on these results; wait for them, or: scancel {job}" in again.stdout
    (keeper,) = processes(pipeline, "tidemark.keeper.main")
    said = pipeline.json("run/long/keeper.json")
    (owner,) = [
        pid for pid in processes(pipeline, "snakemake") if pid_on_node(pid) == said["owner"]
    ]
    assert said["batch_job"] == str(job)
    assert any(f"slurmstepd: [{job}." in line for line in command_lines_above(owner))
    cluster.ask("scancel", job)
    # All nodes' processes are this machine's, too.
    wait_for(lambda: not pipeline.processes(), "the end of all processes")
    assert proc.start_time(keeper) is None


def processes(pipeline: Pipeline, word: str) -> list[int]:
    """Return the processes of a pipeline with ``word`` in their command lines."""
    return [int(line.split()[0]) for line in pipeline.processes() if word in line]


def pid_on_node(pid: int) -> int:
    """Return the pid that a process has on its node."""
    return int((proc.status_field(pid, "NSpid") or "0").split()[-1])


def command_lines_above(pid: int) -> Iterator[str]:
    """Yield the command lines of the processes above one."""
    while pid := proc.parent_of(pid) or 0:
        yield Path(f"/proc/{pid}/cmdline").read_text()
