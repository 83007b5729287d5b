"""The pipeline through a Slurm cluster: submitted from its login node by the profile."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from documented import RUN, documented
from pipeline import GRID, SPARSE, Pipeline
from test_forms import files

if TYPE_CHECKING:
    from cluster import Cluster

NOBODY = pwd.getpwnam("nobody")

VIEWS: dict[str, Any] = {
    "run": ["python3", "workloads/views.py", "--seed", 1],
    "epochs": 2,
    "advance": {"steps": 2},
}
WORKLOADS = {"grid": GRID, "sparse": SPARSE, "views": VIEWS}
MINE = ("--configfile", "my.yaml")
OFFLINE = {"restore", "verify"}


@pytest.mark.parametrize(
    ("beginning", "said"), [("sinfo", "main"), ("srun", "guarantee "), ("squeue", "JOBID")]
)
def test_what_is_asked_around_a_run_is_answered(
    cluster: Cluster, tmp_path: Path, beginning: str, said: str
) -> None:
    done = cluster.run(*documented(beginning), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert said in done.stdout


def deterministic(results: Path) -> dict[str, bytes]:
    """Return what is the same in all runs of the workloads: bitmaps and images."""
    return {name: path.read_bytes() for name, path in files(results, "image", "bitmap.pb").items()}


def live_jobs(results: Path, workload: str) -> set[str]:
    """Return the batch jobs that the live part of a workload was done by, as its logs tell."""
    logs = [path for path in (results / workload).rglob("*.log") if path.stem not in OFFLINE]
    return {
        found
        for log in logs
        for found in re.findall(
            r"^tidemark: batch job (\d+) on n\d$", log.read_text(), re.MULTILINE
        )
    }


def test_both_forms_give_the_bytes_of_a_local_run_through_the_cluster(
    cluster: Cluster, pipeline: Pipeline
) -> None:
    pipeline.configure(**WORKLOADS)
    local = pipeline.run("--config", "results=local")
    assert local.code == 0, local.output
    expected = deterministic(pipeline.directory / "local")
    assert len(expected) > 6 * 5
    for form, command in (("stepwise", [*RUN, *MINE]), ("fused", documented("snakemake"))):
        mine = yaml.safe_dump({"live": form, "results": form, "workloads": WORKLOADS})
        (pipeline.directory / "my.yaml").write_text(mine)
        done = cluster.run(*command, cwd=pipeline.directory)
        assert done.returncode == 0, done.stdout
        results = pipeline.directory / form
        assert deterministic(results) == expected
        assert [len(live_jobs(results, workload)) for workload in WORKLOADS] == [1, 1, 1]


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
