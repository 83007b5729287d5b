"""A config in parts that run by themselves, and what is merged of them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import polars
import pytest
from pipeline import GRID, SPARSE, Pipeline

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline import Run

pytestmark = pytest.mark.live

TIMES = {
    *("running_seconds", "freeze_seconds", "frozen_seconds", "written_per_second"),
    *("step_seconds", "step_cpu_seconds", "peak_memory_bytes"),
}


def refused(run: Run, code: int = 1) -> str:
    """Return the one sentence that told why nothing was done."""
    assert run.code == code, run.output
    assert len(run.output.splitlines()) == 1
    assert run.output.startswith("tidemark: error: ")
    return run.output


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Give a workflow whose config was split in two, both of which were run."""
    pipeline = Pipeline(tmp_path_factory.mktemp("sharded"))
    split = pipeline.tidemark("shard", "--count", "2", "--to", "shards")
    assert split.code == 0, split.output
    for line in split.output.splitlines():
        done = pipeline.tidemark(*line.split()[1:], "--cores", "2")
        assert done.code == 0, done.output
    return pipeline


def test_the_rows_of_two_shards_are_those_of_the_run_in_one_piece(
    complete: Pipeline, sharded: Pipeline
) -> None:
    merged = sharded.tidemark("merge", "shards", "--to", "merged")
    assert merged.code == 0, merged.output
    rows = polars.read_parquet(sharded.directory / "merged/summary.parquet").drop(TIMES)
    whole = polars.read_parquet(complete.results / "summary.parquet").drop(TIMES)
    assert len(rows) == 8
    assert rows.equals(whole, null_equal=True)
    summary = json.loads((sharded.directory / "merged/summary.json").read_bytes())
    assert [one["state"] for one in summary["workloads"]] == ["verified", "verified"]
    html = (sharded.directory / "merged/report.html").read_text()
    assert all(f"<h2>{name}" in html or f">{name}<" in html for name in ("grid", "sparse"))


def test_shards_that_are_not_all_there_or_twice_are_refused(sharded: Pipeline) -> None:
    one = sharded.tidemark("merge", "shards/shard-1", "--to", "no")
    assert "of 2 shards 2 is missing" in refused(one)
    twice = sharded.tidemark("merge", "shards", "shards/shard-1", "--to", "no")
    assert "are both shard 1" in refused(twice)
    assert not (sharded.directory / "no").exists()


def test_a_shard_of_another_config_is_refused(sharded: Pipeline) -> None:
    other = sharded.directory / "other"
    shutil.copytree(sharded.directory / "shards", other, ignore=shutil.ignore_patterns("e[0-9]"))
    path = other / "shard-2" / "shard.json"
    value = json.loads(path.read_bytes())
    path.write_text(json.dumps(value | {"whole": "of another"}))
    said = refused(sharded.tidemark("merge", "shards/shard-1", "other/shard-2", "--to", "no"))
    assert "shards/shard-1 and other/shard-2 are shards of different configs" in said


def rewritten(path: Path, **metadata: str) -> None:
    """Write a Parquet file again, with other metadata of ours."""
    kept = {key: polars.read_parquet_metadata(path)[key] for key in ("config", "tidemark")}
    polars.read_parquet(path).write_parquet(path, metadata=kept | metadata)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"tidemark": "0.0.9"}, "of 0.0.9; run all shards by the same version"),
        ({"config": "another"}, "was made from another config than the shard's; run it again"),
    ],
)
def test_results_of_another_version_or_config_are_refused(
    sharded: Pipeline, metadata: dict[str, str], said: str
) -> None:
    path = sharded.directory / "shards/shard-2/results/summary.parquet"
    sound = path.read_bytes()
    rewritten(path, **metadata)
    assert said in refused(sharded.tidemark("merge", "shards", "--to", "no"))
    path.write_bytes(sound)


def test_a_shard_without_a_sound_summary_is_refused_with_the_command_that_mends_it(
    sharded: Pipeline,
) -> None:
    path = sharded.directory / "shards/shard-1/results/summary.parquet"
    sound = path.read_bytes()
    path.write_bytes(sound[:-20])
    assert "is damaged" in refused(sharded.tidemark("merge", "shards", "--to", "no"))
    path.unlink()
    said = refused(sharded.tidemark("merge", "shards", "--to", "no"))
    assert "run that shard to its end: tidemark run --configfile shards/shard-1/config.yaml" in said
    path.write_bytes(sound)


def test_directories_that_are_in_the_way_or_no_shards_are_refused(sharded: Pipeline) -> None:
    again = sharded.tidemark("shard", "--count", "2", "--to", "shards")
    assert "shards exists; name a new directory" in refused(again, 7)
    assert "shards exists" in refused(sharded.tidemark("merge", "shards", "--to", "shards"), 7)
    assert "config is no shard" in refused(sharded.tidemark("merge", "config", "--to", "no"))


def test_more_shards_than_workloads_or_none_are_refused(pipeline: Pipeline) -> None:
    many = pipeline.tidemark("shard", "--count", "3", "--to", "shards")
    assert "has fewer workloads (2) than there are to be shards (3)" in refused(many)
    none = pipeline.tidemark("shard", "--count", "0", "--to", "shards")
    assert none.code == 2
    assert "'0' is no number of 1 or more" in none.output
    assert not (pipeline.directory / "shards").exists()


def test_epochs_are_given_out_evenly(pipeline: Pipeline) -> None:
    epochs = {"a": 9, "b": 5, "c": 4, "d": 1, "e": 1}
    workloads = {name: GRID | {"epochs": number} for name, number in epochs.items()}
    pipeline.configure(**workloads, f=SPARSE | {"epochs": 2})
    assert pipeline.tidemark("shard", "--count", "2", "--to", "shards").code == 0
    shards = [
        json.loads((pipeline.directory / f"shards/shard-{number}/shard.json").read_bytes())
        for number in (1, 2)
    ]
    assert [sum(s["epochs"] for s in shard["shares"]) for shard in shards] == [11, 11]
