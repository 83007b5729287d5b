"""The two forms of the live part: a job for each step, and one job for all of them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from pipeline import GRID, SPARSE, Pipeline

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.live

FUSED = {"live": "fused"}


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Give a workflow with one workload of each form that was run to its end."""
    pipeline = Pipeline(tmp_path_factory.mktemp("fused"))
    pipeline.configure(grid=GRID | FUSED, sparse=SPARSE)
    done = pipeline.run()
    assert done.code == 0, done.output
    assert {"keep": 1, "live_2": 1, "seal": 1}.items() <= done.jobs().items()
    return pipeline


def files(results: Path, *names: str) -> dict[str, Path]:
    """Return the files below ``results`` that are called so, or are in a directory that is."""
    found = (p for p in results.rglob("*") if p.is_file() and {p.name, p.parent.name} & set(names))
    return {str(path.relative_to(results)): path for path in found}


def test_both_forms_leave_the_same_files_and_the_same_bytes(
    complete: Pipeline, fused: Pipeline
) -> None:
    stepwise, other = (
        {
            name
            for name in files(one.results, "e0", "e1", "image", "cost", "grid")
            if "log/" not in name
        }
        for one in (complete, fused)
    )
    assert other == stepwise
    images = files(complete.results, "image", "bitmap.pb")
    assert len(images) > 4 * 5
    for name, path in images.items():
        assert (fused.results / name).read_bytes() == path.read_bytes(), name


def test_a_second_run_of_the_fused_form_does_nothing(fused: Pipeline) -> None:
    assert fused.pending() == {}
    assert fused.processes() == []
    assert not list((fused.results / "run").rglob("keeper.json"))


@pytest.mark.parametrize("lost", ["e0/advance.json", "e1/scan.pb", "e0/image", "live.json"])
def test_the_loss_of_a_live_output_runs_the_fused_job_again_and_no_other_workload(
    fused: Pipeline, lost: str
) -> None:
    before = fused.lives()
    path = fused.results / "grid" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    pending = fused.pending()
    assert pending["live_2"] == 1
    assert set(pending) <= {"live_2", "restore", "verify", "report"}
    assert fused.run().code == 0
    assert fused.lives()["grid"] != before["grid"]
    assert fused.lives()["sparse"] == before["sparse"]
    assert fused.pending() == {}


def test_the_loss_of_a_stepwise_output_leaves_the_fused_workload_alone(fused: Pipeline) -> None:
    before = fused.lives()
    (fused.results / "sparse/e1/bitmap.pb").unlink()
    assert "live_2" not in fused.pending()
    assert fused.run().code == 0
    assert fused.lives()["grid"] == before["grid"]
    assert fused.lives()["sparse"] != before["sparse"]


def test_the_form_for_all_workloads_is_overruled_by_a_workloads_own(pipeline: Pipeline) -> None:
    pipeline.configure(grid=GRID, sparse=SPARSE | {"live": "stepwise", "epochs": 1})
    pending = pipeline.pending("--config", "live=fused")
    assert pending["live_2"] == pending["keep"] == pending["dump"] == 1


def test_a_fused_job_that_fails_says_why_and_leaves_no_process(pipeline: Pipeline) -> None:
    pipeline.configure(grid=GRID | FUSED | {"check": ["false"]})
    done = pipeline.run()
    assert done.code != 0
    assert "the check false exited with code 1" in done.output
    assert "Traceback" not in done.output
    assert pipeline.processes() == []
    assert not (pipeline.results / "grid/live.json").exists()


def test_the_scheduler_looks_for_jobs_no_more_than_twice_for_each(pipeline: Pipeline) -> None:
    idle = ["python3", "-c", "import mmap, time; m = mmap.mmap(-1, 4096); time.sleep(100)"]
    slow = {"run": idle, "epochs": 1, "advance": {"seconds": 2}, **FUSED}
    pipeline.configure(**{f"w{number}": slow for number in range(6)})
    done = pipeline.run("--verbose")
    assert done.code == 0, done.output
    assert 0 < done.output.count("Ready jobs: ") <= 2 * sum(done.jobs().values())
