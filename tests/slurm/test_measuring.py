"""The benchmarks as batch jobs, each with a node to itself, and two runs of them compared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cluster import NODES
from test_benchmarks import COMPARISON, prepare

from tidemark.files import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from cluster import Cluster
    from pipeline import Pipeline

LINE = r"(same|better|worse|unsure) +[\d.]+ +\[[\d.]+, [\d.]+\]  (one|other): .*"


def test_two_runs_of_the_benchmarks_through_the_cluster_are_compared(
    cluster: Cluster, pipeline: Pipeline
) -> None:
    prepare(pipeline.directory)
    for results in ("before", "after"):
        measure(cluster, pipeline.directory, results)
        kept = read_json(pipeline.directory / results / "raw/one.json")
        assert len(kept["samples"]) == COMPARISON["pairs"]
        assert kept["machine"]["hostname"] in NODES
        assert kept["machine"].keys() >= {"kernel", "cpus", "memory_bytes", "processor"}
    compared = cluster.run("tidemark", "bench", "diff", "before", "after", cwd=pipeline.directory)
    assert compared.returncode in {0, 14}, compared.stdout
    assert len(re.findall(LINE, compared.stdout)) == 2, compared.stdout


def measure(cluster: Cluster, directory: Path, results: str) -> None:
    """Measure through the cluster, each comparison on a node that is its alone."""
    command = ("snakemake", "-s", "benchmarks/Snakefile")
    options = ("--workflow-profile", "workflow/profiles/slurm", "--config", "bench=small")
    done = cluster.run(*command, *options, f"results={results}", cwd=directory)
    assert done.returncode == 0, done.stdout
    jobs = [cluster.job(int(job)) for job in re.findall(r"SLURM jobid (\d+)", done.stdout)]
    assert [job["OverSubscribe"] for job in jobs] == ["NO", "NO"]
