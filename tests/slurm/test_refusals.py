"""What a cluster cannot do is told in one sentence, before anything is submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from documented import RUN
from pipeline import GRID

if TYPE_CHECKING:
    from cluster import Cluster
    from pipeline import Pipeline


def refused(cluster: Cluster, pipeline: Pipeline, code: int) -> list[str]:
    """Run what must be refused with ``code``, and no job submitted; return what was said."""
    before = cluster.jobs("all")
    done = cluster.run(*RUN, cwd=pipeline.directory)
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout
    assert cluster.jobs("all") == before
    _, found, said = done.stdout.partition("tidemark: error: ")
    assert found, done.stdout
    return [line.strip() for line in said.splitlines()]


def profile(pipeline: Pipeline, old: str, new: str) -> None:
    """Change the profile."""
    path = pipeline.directory / "workflow/profiles/slurm/config.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_profile_without_a_partition_is_told_which_there_are(
    cluster: Cluster, pipeline: Pipeline
) -> None:
    profile(pipeline, "  slurm_partition: main\n", "")
    said = refused(cluster, pipeline, 3)
    assert said[0].startswith("the profile names no partition")
    assert said[0].endswith("one of: main")


def test_a_partition_that_is_none_is_told(cluster: Cluster, pipeline: Pipeline) -> None:
    profile(pipeline, "slurm_partition: main", "slurm_partition: mian")
    said = refused(cluster, pipeline, 3)
    assert said[0].startswith("there is no partition `mian`; set")


def test_results_that_the_nodes_do_not_see_are_told(cluster: Cluster, pipeline: Pipeline) -> None:
    pipeline.configure(grid=GRID)
    # Each machine of the cluster has a /mnt of its own.
    done = cluster.run(*RUN, "--", "--config", "results=/mnt/results", cwd=pipeline.directory)
    assert done.returncode == 1, done.stdout
    said = "workload grid did not get to its end: the results in /mnt/results are not seen by the"
    assert f"tidemark: error: {said} node n1; set `results` to a directory" in done.stdout


def test_workloads_that_ask_for_more_than_a_node_has_are_all_told(
    cluster: Cluster, pipeline: Pipeline
) -> None:
    asked: dict[str, Any] = {
        "large": {"mem_mb": 10**6},
        "long": {"runtime": 10**4},
        "wide": {"threads": 64},
    }
    workloads = {name: GRID | {"resources": resources} for name, resources in asked.items()}
    pipeline.configure(grid=GRID, **workloads)
    said = refused(cluster, pipeline, 3)
    assert said[0] == "the cluster lacks 3 things:"
    assert said[1].startswith("workloads.large.resources.mem_mb: 1000000 MiB are asked for")
    assert said[2].startswith("workloads.long.resources.runtime: 10000 minutes are asked for")
    assert said[3].startswith("workloads.wide.resources.threads: 64 processors are asked for")
