"""What a cluster does to batch jobs: it is told, and the next run does what is missing."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

from cluster import LONGEST_RUN, environment, wait_for
from documented import RUN
from pipeline import GRID

if TYPE_CHECKING:
    from pathlib import Path

    from cluster import Cluster
    from pipeline import Pipeline

HOG = "import mmap; m = mmap.mmap(-1, 1 << 30); m.write(b'1' * (1 << 30)); input()"
IDLE = "import mmap, time; m = mmap.mmap(-1, 4096); time.sleep(1000)"
SECONDS: dict[str, Any] = {"run": ["python3", "-c", IDLE], "epochs": 2}


def summary(pipeline: Pipeline) -> dict[str, tuple[str, str]]:
    """Return the state of each workload, and its first problem."""
    workloads = pipeline.json("summary.json")["workloads"]
    return {w["workload"]: (w["state"], " ".join(w["problems"][:1])) for w in workloads}


def begun(cluster: Cluster, pipeline: Pipeline) -> subprocess.Popen[bytes]:
    """Start a run; its output goes to run.log."""
    # Whoever starts the tests in the background of a script has them ignore Ctrl-C.
    heeding = ("env", "--default-signal=INT")
    with (pipeline.directory / "run.log").open("wb") as log:
        return subprocess.Popen(
            cluster.command([*heeding, *RUN]),
            cwd=pipeline.directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def node_of(log: Path) -> str:
    """Return the node that a step ran on, by its log."""
    found = re.search(r"^tidemark: batch job \d+ on (\S+)$", log.read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_jobs_that_run_out_of_memory_or_time_are_told_and_the_others_finish(
    cluster: Cluster, pipeline: Pipeline
) -> None:
    pipeline.configure(
        grid=GRID,
        hog={
            "run": ["python3", "-c", HOG],
            "epochs": 1,
            "advance": {"seconds": 100},
            "ready": {"seconds": 50},
            "resources": {"mem_mb": 600},
        },
        late=SECONDS | {"advance": {"seconds": 300}, "resources": {"runtime": 1}},
    )
    done = cluster.run(*RUN, cwd=pipeline.directory)
    assert done.returncode == 1, done.stdout
    said = summary(pipeline)
    assert said["grid"] == ("verified", ""), said
    assert re.fullmatch(r"keep: batch job \d+ on n\d ran out of memory; .*", said["hog"][1]), said
    late = r"\w+( of epoch 0)?: batch job \d+ on n\d ran out of time; .*"
    assert re.fullmatch(late, said["late"][1]), said
    for workload in ("hog", "late"):
        assert f"tidemark: error: workload {workload} did not get to its end: " in done.stdout
        assert said[workload][1] in (pipeline.results / "report.html").read_text()
    assert pipeline.processes() == []


def test_a_node_that_is_lost_costs_its_workload_and_no_other(
    cluster: Cluster, pipeline: Pipeline
) -> None:
    lost = SECONDS | {"advance": {"seconds": 100}, "resources": {"threads": 4}}
    pipeline.configure(grid=GRID, lost=lost)
    run = begun(cluster, pipeline)
    wait_for((pipeline.results / "grid/live.json").exists, "the end of grid")
    wait_for((pipeline.results / "lost/log/keep.log").exists, "the start of the other")
    wait_for((pipeline.results / "lost/e0/log/advance.log").exists, "its first epoch")
    node = node_of(pipeline.results / "lost/e0/log/advance.log")
    cluster.lose(node)
    assert run.wait(timeout=LONGEST_RUN) == 1
    said = summary(pipeline)
    assert said["grid"] == ("verified", ""), (pipeline.directory / "run.log").read_text()
    ended = rf"advance of epoch 0: batch job \d+ on {node} lost its node; run again"
    assert re.fullmatch(ended, said["lost"][1]), said
    cluster.start(node)
    life = pipeline.lives()["grid"]
    pipeline.configure(grid=GRID, lost=lost | {"advance": {"seconds": 1}})
    again = pipeline.run("--nolock")  # here: the results are no node's own
    assert again.code == 0, again.output
    assert pipeline.lives()["grid"] == life
    assert {state for state, _ in summary(pipeline).values()} == {"verified"}
