"""A run of the benchmarks, small, and ``tidemark bench diff`` on what it kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml
from pipeline import BIN, ROOT

from tidemark.files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.live

COMPARISON = {"row": 1, "measure": "compare", "with": {"mib": 1}, "pairs": 5, "says": "compared"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a checkout in which the benchmarks were run, their results in ``before``."""
    directory = tmp_path_factory.mktemp("benchmarks")
    prepare(directory)
    command = ["snakemake", "-s", "benchmarks/Snakefile", "--cores", "1"]
    done = call(directory, *command, "--config", "bench=small", "results=before")
    assert done.returncode == 0, done.stderr
    return directory


def prepare(directory: Path) -> None:
    """Put the benchmarks into ``directory``, with the config ``small``."""
    for name in ("benchmarks", "native"):
        shutil.copytree(ROOT / name, directory / name)
    config = {"mem_mb": 500, "comparisons": {"one": COMPARISON, "other": COMPARISON}}
    (directory / "benchmarks/config/small.yaml").write_text(yaml.safe_dump(config))


def call(directory: Path, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        [BIN / program, *words],
        cwd=directory,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_facts_of_the_machine_are_kept_with_the_samples(measured: Path) -> None:
    kept = read_json(measured / "before/raw/one.json")
    assert len(kept["samples"]) == COMPARISON["pairs"]
    assert len(kept["load"][0]) == 3
    machine = kept["machine"]
    assert machine["kernel"] == os.uname().release
    assert machine["cpus"] == os.cpu_count()
    assert machine["memory_bytes"] > 0
    assert {"hostname", "architecture", "processor", "python", "tidemark"} <= machine.keys()


def test_a_run_is_not_worse_than_itself(measured: Path) -> None:
    done = call(measured, "tidemark", "bench", "diff", "before", "before")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert "one: " in done.stdout
    assert "worse" not in done.stdout


def test_a_run_with_a_line_that_got_worse_ends_with_its_code(measured: Path) -> None:
    for run, factor in (("first", 1), ("second", 1000)):
        shutil.copytree(measured / "before", measured / run)
        kept = read_json(measured / run / "raw/other.json")
        samples = [sample | {"ours": factor * sample["ours"]} for sample in kept["samples"]]
        quiet = {"load": [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]}
        write_json(measured / run / "raw/other.json", kept | {"samples": samples} | quiet)
    done = call(measured, "tidemark", "bench", "diff", "first", "second")
    assert done.returncode == 14
    assert "beyond noise: other" in done.stderr


def test_each_measurement_has_a_node_to_itself(measured: Path) -> None:
    command = ["snakemake", "-s", "benchmarks/Snakefile", "--cores", "1", "--dry-run"]
    planned = call(measured, *command, "--config", "bench=small", "results=other")
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.count("slurm_extra=--exclusive") == 2
