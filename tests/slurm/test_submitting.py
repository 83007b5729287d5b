"""The pipeline through a Slurm cluster: submitted from its login node by the profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline import GRID, SPARSE

if TYPE_CHECKING:
    from cluster import Cluster
    from pipeline import Pipeline

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
