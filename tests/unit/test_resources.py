"""What batch jobs ask for: derived from the config, or said in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tidemark.cluster.resources import Resources, live, offline
from tidemark.cluster.slurm import minutes
from tidemark.config import Config

if TYPE_CHECKING:
    from pathlib import Path

APP: dict[str, Any] = {"run": "true", "epochs": 3, "advance": {"seconds": 20}, "timeout": 30}


def config(results: Path, **more: Any) -> Config:
    """Return a config of one workload."""
    return Config.model_validate(
        {"results": str(results), "live_threads": 2, "workloads": {"app": {**APP, **more}}}
    )


def test_the_time_is_the_longest_that_the_epochs_and_the_time_outs_allow(tmp_path: Path) -> None:
    # 60 s to start, 30 until ready, three epochs of 20 and 15 for their steps, 10 to stop
    assert live(config(tmp_path), "app").runtime == 4
    # the check takes another 30
    assert live(config(tmp_path, check="true"), "app").runtime == 4
    # an epoch of steps may take as long as the time-out
    assert live(config(tmp_path, advance={"steps": 1}), "app").runtime == 4
    assert live(config(tmp_path, advance={"steps": 1}, timeout=300), "app").runtime == 22


def test_the_memory_is_twice_what_is_shared(tmp_path: Path) -> None:
    shares = config(tmp_path, resources={"shared_mb": 3000})
    assert live(shares, "app") == Resources(threads=2, mem_mb=1024 + 6000, runtime=7)
    assert offline(shares, "app") == Resources(threads=1, mem_mb=512 + 3000, runtime=3)


def test_what_is_shared_is_taken_from_the_last_dump_where_it_is_not_said(tmp_path: Path) -> None:
    image = tmp_path / "app" / "e9" / "image"
    image.mkdir(parents=True)
    regions = [{"present": 100, "in_parent": 25500}, {"present": 0, "in_parent": 25600}]
    manifest = {"schema": 1, "page_size": 4096, "regions": regions}
    (image / "manifest.json").write_text(json.dumps(manifest))
    assert live(config(tmp_path, epochs=10), "app").mem_mb == 1024 + 2 * 200
    (image / "manifest.json").write_text("damaged")
    assert live(config(tmp_path, epochs=10), "app").mem_mb == 1024 + 2 * 512


def test_what_the_config_says_is_asked_for(tmp_path: Path) -> None:
    said = {"threads": 8, "mem_mb": 999, "runtime": 77}
    assert live(config(tmp_path, resources=said), "app") == Resources(**said)


def test_what_is_asked_for_makes_no_difference_to_the_results(tmp_path: Path) -> None:
    said = config(tmp_path, resources={"threads": 8})
    assert said.workload_json("app") == config(tmp_path).workload_json("app")


@pytest.mark.parametrize(
    ("limit", "value"),
    [("infinite", None), ("30:00", 30), ("2:00:00", 120), ("1-02:00:00", 1560), ("n/a", None)],
)
def test_a_limit_is_read_as_slurm_writes_it(limit: str, value: int | None) -> None:
    assert minutes(limit) == value
