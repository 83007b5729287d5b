"""The pipeline through a Slurm cluster: submitted from its login node by the profile."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipeline import GRID, SPARSE, Pipeline

if TYPE_CHECKING:
    from cluster import Cluster

NOBODY = pwd.getpwnam("nobody")

VIEWS: dict[str, Any] = {
    "run": ["python3", "workloads/views.py", "--seed", 1],
    "epochs": 2,
    "advance": {"steps": 2},
}


def test_a_run_through_the_cluster_gives_the_bytes_of_a_local_one(
    cluster: Cluster, pipeline: Pipeline
) -> None:
    pipeline.configure(grid=GRID, sparse=SPARSE, views=VIEWS)
    done = cluster.run(
        "tidemark", "run", "--profile", "workflow/profiles/slurm", cwd=pipeline.directory
    )
    assert done.returncode == 0, done.stdout
    local = pipeline.run("--config", "results=local")
    assert local.code == 0, local.output
    compared = 0
    for path in pipeline.results.rglob("*"):
        same = pipeline.directory / "local" / path.relative_to(pipeline.results)
        if same.is_file() and (path.name == "bitmap.pb" or path.parent.name == "image"):
            assert path.read_bytes() == same.read_bytes(), path
            compared += 1
    assert compared > 6 * 5


def test_an_ordinary_user_runs_his_own_workloads(cluster: Cluster) -> None:
    user, group = (NOBODY.pw_uid, NOBODY.pw_gid)
    with TemporaryDirectory(dir="/var/tmp") as name:  # pytest's own is for root alone
        home = Path(name)
        pipeline = Pipeline(home / "workflow")
        pipeline.configure(grid=GRID)
        for path in (home, *home.rglob("*")):
            os.chown(path, user, group, follow_symlinks=False)
        become = ("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups")
        whole = ("sbatch", "--wait", "--partition=main", "--cpus-per-task=2", "--mem=1500")
        wrapped = f"export HOME={home}; exec tidemark run --cores 2"
        done = cluster.run(
            *become, *whole, "--output=log", "--wrap", wrapped, cwd=pipeline.directory
        )
        assert done.returncode == 0, done.stdout + (pipeline.directory / "log").read_text()
        assert pipeline.json("grid/e1/verify.json")["recall"] == 1.0
        assert (pipeline.results / "report.html").stat().st_uid == user
