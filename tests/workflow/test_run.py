"""A run of the pipeline, and what the next one does again."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest
from pipeline import GRID, SPARSE

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline import Pipeline

pytestmark = pytest.mark.live

os.umask(UMASK := os.umask(0))

OFFLINE = {"restore": 4, "verify": 4, "report": 1}
FIELDS = {"pages", "different", "changed", "dirty", "missed", "recall", "precision", "tracker"}


def live_part(workload: str, pipeline: Pipeline) -> dict[Path, int]:
    """Return the modification times of a workload's live outputs."""
    steps = ("clear.json", "advance.json", "scan.pb", "bitmap.pb", "truth.json")
    files = [p for p in (pipeline.results / workload).rglob("*") if p.name in steps]
    return {path: path.stat().st_mtime_ns for path in files}


def test_every_dump_is_restored_and_verified(complete: Pipeline) -> None:
    for workload in ("grid", "sparse"):
        for epoch in range(2):
            verify = complete.json(f"{workload}/e{epoch}/verify.json")
            assert set(verify) >= FIELDS
            assert verify["different"] == verify["missed"] == 0
            assert verify["recall"] == 1.0
            assert verify["pages"] > 0
            assert verify["sharing"]["seen"] == verify["sharing"]["of"] > 0


def test_a_later_epoch_dumps_only_what_changed(complete: Pipeline) -> None:
    for workload in ("grid", "sparse"):
        full, incremental = (
            complete.json(f"{workload}/e{epoch}/image/manifest.json")["regions"][0]
            for epoch in range(2)
        )
        assert full["in_parent"] == 0
        assert 0 < incremental["present"] < full["present"] / 2
        assert complete.json(f"{workload}/e1/verify.json")["dirty"] >= incremental["present"]


def test_a_sparse_region_costs_what_is_used_of_it(complete: Pipeline) -> None:
    for cost in (complete.results / "sparse").glob("e*/cost/*.json"):
        peak = complete.json(str(cost.relative_to(complete.results)))["peak_memory_bytes"]
        assert peak <= 64 << 20, cost


def test_the_report_stands_beside_its_summaries_and_nothing_temporary_remains(
    complete: Pipeline,
) -> None:
    html = (complete.results / "report.html").read_text()
    assert "Verified bit for bit" in html
    assert {row["workload"] for row in complete.json("summary.json")["rows"]} == {"grid", "sparse"}
    assert (complete.results / "summary.parquet").read_bytes().startswith(b"PAR1")
    names = {path.name for path in complete.results.rglob("*")}
    assert not names & {"restored", "keeper.json", "keeper.sock"}
    assert not [name for name in names if name.endswith(".tmp")]
    assert complete.processes() == []


def test_content_is_for_its_owner_alone_and_reports_are_as_the_umask_says(
    complete: Pipeline,
) -> None:
    modes = {path: path.lstat().st_mode for path in complete.results.rglob("*")}
    for path, mode in modes.items():
        public = path.parent == complete.results and path.suffix in {".html", ".json", ".parquet"}
        if stat.S_ISREG(mode) and not path.name.startswith(".snakemake"):
            expected = 0o666 & ~UMASK if public or path.name == "workloads.json" else 0o600
            assert stat.S_IMODE(mode) == expected, path
        elif path.name in {"image", ".tidemark"}:
            assert stat.S_IMODE(mode) == 0o700, path
    assert stat.S_IMODE(complete.results.stat().st_mode) == 0o777 & ~UMASK


def test_results_of_a_former_version_go_on(complete: Pipeline) -> None:
    shutil.rmtree(complete.results / ".tidemark")
    (complete.results / ".lock").write_text("process 1 on here\n")
    run = complete.run()
    assert (run.code, run.jobs()) == (0, {})
    (complete.results / "summary.json").unlink()
    run = complete.run()
    assert (run.code, set(run.jobs()) - {"all"}) == (0, {"report"}), run.output
    assert (complete.results / ".tidemark" / "directory.json").is_file()


def test_a_second_run_does_nothing(complete: Pipeline) -> None:
    lives = complete.lives()
    again = complete.run()
    assert again.code == 0
    assert "Nothing to be done" in again.output
    assert complete.lives() == lives


def test_a_touched_restore_script_runs_the_offline_steps_alone(complete: Pipeline) -> None:
    lives = complete.lives()
    (complete.directory / "workflow/scripts/restore.py").touch()
    assert complete.pending() == OFFLINE
    assert complete.run().code == 0
    assert complete.lives() == lives
    assert complete.pending() == {}


def test_a_changed_restore_script_runs_the_offline_steps_alone(complete: Pipeline) -> None:
    script = complete.directory / "workflow/scripts/restore.py"
    script.write_text(script.read_text() + "# changed\n")
    assert complete.pending() == OFFLINE
    assert complete.run().code == 0


def test_more_epochs_of_one_workload_run_that_workload_alone(complete: Pipeline) -> None:
    before = live_part("sparse", complete)
    complete.configure(grid=GRID | {"epochs": 3}, sparse=SPARSE)
    pending = complete.pending()
    assert pending["keep"] == 1
    assert pending["advance"] == 3
    assert complete.run().code == 0
    assert live_part("sparse", complete) == before
    complete.configure(grid=GRID, sparse=SPARSE)
    assert complete.run().code == 0


@pytest.mark.parametrize("lost", ["e0/advance.json", "e1/scan.pb", "e0/image", "live.json"])
def test_the_loss_of_a_live_output_runs_that_workload_again_all_of_it(
    complete: Pipeline, lost: str
) -> None:
    lives, before = complete.lives(), live_part("grid", complete)
    path = complete.results / "sparse" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    pending = complete.pending()
    assert {pending[rule] for rule in ("clear", "advance", "collect", "merge", "dump")} == {2}
    assert complete.run().code == 0
    assert complete.lives()["sparse"] != lives["sparse"]
    assert complete.lives()["grid"] == lives["grid"]
    assert live_part("grid", complete) == before
    assert complete.pending() == {}


def test_two_runs_of_a_deterministic_workload_give_the_same_bytes(complete: Pipeline) -> None:
    other = complete.directory / "other"
    done = complete.run("--config", f"results={other}", "--nolock")
    assert done.code == 0, done.output
    compared = 0
    for path in complete.results.rglob("*"):
        same = other / path.relative_to(complete.results)
        if same.is_file() and (path.name == "bitmap.pb" or path.parent.name == "image"):
            assert path.read_bytes() == same.read_bytes(), path
            compared += 1
    files = {"bitmap.pb", "inventory.img", "pagemap-shmem-1.img", "pages-1.img", "manifest.json"}
    assert compared == 4 * len(files | {".snakemake_timestamp"})


def test_snakemakes_own_report_has_the_captions(complete: Pipeline) -> None:
    target = complete.directory / "snakemake-report.zip"
    made = complete.run("--report", str(target))
    assert made.code == 0, made.output
    assert target.stat().st_size > 0


def edit(path: Path, old: str, new: str) -> None:
    """Change a file so that Snakemake cannot notice."""
    times = path.stat()
    path.write_text(path.read_text().replace(old, new))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_what_fails_verification_fails_the_run_and_keeps_the_evidence(
    complete: Pipeline,
) -> None:
    lives = complete.lives()
    path = complete.results / "grid/e1/truth.json"
    hashes = complete.json("grid/e1/truth.json")["regions"][0]["hashes"]
    wrong = ("A" if hashes[0] != "A" else "B") + hashes[1:]
    edit(path, hashes, wrong)
    done = complete.run("--forcerun", "verify")
    assert done.code != 0
    assert "verification failed" in done.output
    assert "grid: epoch 1" in done.output
    assert complete.json("grid/e1/verify.json")["different"] == 2  # in each of two processes
    assert "FAILED" in (complete.results / "report.failed.html").read_text()
    edit(path, wrong, hashes)
    assert complete.run("--forcerun", "verify").code == 0
    assert not (complete.results / "report.failed.html").exists()
    assert complete.lives() == lives


def test_a_damaged_image_is_named_and_not_restored(complete: Pipeline) -> None:
    path = complete.results / "sparse/e0/image/pages-1.img"
    sound = path.read_bytes()
    path.write_bytes(sound[:-1])
    done = complete.run("--forcerun", "restore")
    assert done.code != 0
    said = [line for line in done.output.splitlines() if line.startswith("tidemark: error: ")]
    assert said
    assert all("sparse/e0/image/pages-1.img is" in line for line in said)
    path.write_bytes(sound)
    assert complete.run().code == 0
