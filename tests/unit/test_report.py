"""The report's figures and verdicts, and what it makes of damage."""

from __future__ import annotations

import re
import shutil
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest
from report_fixture import Plan, names, report, write_workload
from report_plans import by_content, dense, several, sparse

from tidemark.files import read_json, write_bytes, write_json
from tidemark.proto.tracking_pb2 import BitmapSet
from tidemark.report import summary
from tidemark.report.rows import Row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PLANS = (dense(), several(), sparse(), by_content())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results directory with its report, for tests that leave it as it is."""
    root = tmp_path_factory.mktemp("results")
    for plan in PLANS:
        write_workload(root, plan)
    report(root, *names(*PLANS))
    return root


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results directory of one small workload."""
    root = tmp_path_factory.mktemp("pristine")
    write_workload(root, dense(pages=512))
    return root


@pytest.fixture
def grid(pristine: Path, tmp_path: Path) -> Path:
    """Return a copy of it, to be damaged."""
    return shutil.copytree(pristine, tmp_path / "results")


def test_the_totals_in_the_summary_are_those_of_the_bitmaps(results: Path) -> None:
    rows = read_json(results / "summary.json")["rows"]
    totals = {(row["workload"], row["epoch"]): row for row in rows if row["scope"] == "epoch"}
    assert len(totals) == sum(len(plan.epochs) for plan in PLANS)
    for plan in PLANS:
        for number, regions in enumerate(plan.epochs):
            row = totals[plan.name, number]
            for column in ("used", "dirty", "suspect"):
                assert row[column] == sum(getattr(r, column).bit_count() for r in regions)
            assert row["pages"] == sum(region.pages for region in regions)


def test_a_region_row_says_what_the_bitmap_and_the_manifest_say(results: Path) -> None:
    rows = read_json(results / "summary.json")["rows"]
    (row,) = [r for r in rows if (r["workload"], r["epoch"], r["region"]) == ("postgres", 1, 1)]
    heap = several().epochs[1][0]
    assert row["written"] == (heap.dirty | heap.changed).bit_count()
    assert row["settled_changed"] == heap.changed.bit_count() > 0
    assert row["suspect_reasons"] == [{"reason": "unmapped", "pages": heap.suspect.bit_count()}]
    assert row["dump_bytes"] == row["present"] * 4096
    assert row["full_bytes"] == heap.used.bit_count() * 4096


def test_what_was_written_is_unknown_while_suspects_were_not_compared(results: Path) -> None:
    rows = read_json(results / "summary.json")["rows"]
    legacy = [row for row in rows if row["workload"] == "legacy" and row["scope"] == "region"]
    assert legacy[0]["unsettled"] == 10000
    assert legacy[0]["written"] is None
    assert legacy[1]["written"] == by_content().epochs[1][0].changed.bit_count()


def test_the_parquet_rows_equal_those_of_the_json(results: Path) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.read_parquet(results / "summary.parquet")
    rows = frame.drop("schema").to_dicts()
    assert rows == read_json(results / "summary.json")["rows"]
    assert set(frame["schema"]) == {1}


def test_the_parquet_columns_are_typed_even_where_all_is_null(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    report(tmp_path, ("nowhere", 1))
    frame = polars.read_parquet(tmp_path / "summary.parquet")
    assert frame.schema["different"] == polars.UInt64
    assert frame.schema["recall"] == polars.Float64
    assert frame.schema["name"] == polars.String


def test_every_column_of_the_summary_is_documented() -> None:
    table = (summary.__doc__ or "").split("=====\n")[2]
    documented = re.findall(r"\w+", " ".join(line[:20] for line in table.splitlines()))
    assert set(documented) == {"schema", *(field.name for field in fields(Row))}


def test_the_same_results_give_the_same_bytes(results: Path) -> None:
    paths = [results / name for name in ("report.html", "summary.json", "summary.parquet")]
    before = [path.read_bytes() for path in paths]
    report(results, *names(*PLANS))
    assert [path.read_bytes() for path in paths] == before


def test_a_failed_verification_is_said_first(tmp_path: Path) -> None:
    good, bad = dense(), dense("ring", seed=7)
    write_workload(tmp_path, good)
    write_workload(tmp_path, Plan("ring", bad.epochs, different={2: 3}, missed={1: 1}))
    page, found = report(tmp_path, *names(good, bad))
    states = {one["workload"]: one["state"] for one in found["workloads"]}
    assert states == {"grid": "verified", "ring": "failed"}
    assert found["workloads"][1]["problems"] == [
        "epoch 1: 1 page is written but missed by the dump",
        "epoch 2: 3 pages are different from the truth after restoring",
    ]
    header = page[page.index("<header>") : page.index("</header>")]
    assert "Verification FAILED" in header
    assert "epoch 2: 3 pages are different" in header
    assert "Verified bit for bit" not in header


def test_a_restored_process_that_does_not_share_is_a_failure(grid: Path) -> None:
    path = grid / "grid" / "e1" / "verify.json"
    write_json(path, read_json(path) | {"sharing": {"seen": 3, "of": 4}})
    _, found = report(grid, ("grid", 4))
    assert found["workloads"][0]["state"] == "failed"
    assert "3 of 4 mappings" in found["workloads"][0]["problems"][0]


def test_an_object_that_is_in_no_region_is_a_failure_that_names_it(grid: Path) -> None:
    path = grid / "grid" / "e1" / "verify.json"
    missing = [{"kind": "posix", "name": "/dev/x", "pages": 5}]
    write_json(path, read_json(path) | {"missed": 5, "missing": missing})
    _, found = report(grid, ("grid", 4))
    assert found["workloads"][0]["problems"] == [
        "epoch 1: 5 pages are written but missed by the dump",
        "epoch 1: shared memory is in no region of the dump: posix /dev/x (5 pages with content)",
    ]


def test_what_could_not_be_judged_is_no_failure_and_is_said(grid: Path) -> None:
    path = grid / "grid" / "e1" / "verify.json"
    write_json(path, read_json(path) | {"unjudged": 3, "unjudged_objects": ["/x"]})
    _, found = report(grid, ("grid", 4))
    assert found["workloads"][0]["state"] == "verified"
    assert found["workloads"][0]["headline"] == (
        "Verified bit for bit; 3 pages could not be judged; 1 object could not be judged"
    )


def test_what_is_shared_and_not_saved_is_listed(grid: Path) -> None:
    path = grid / "grid" / "e2" / "image" / "manifest.json"
    file = {"kind": "file", "name": "/data/<b>", "bytes": 4096, "processes": [0, 1]}
    device = {"kind": "device", "name": "/dev/mem", "bytes": 4096, "processes": [0]}
    write_json(path, read_json(path) | {"unsaved": [device, file, file | {"bytes": 8192}]})
    page, found = report(grid, ("grid", 4))
    assert "Not saved: 1 device, 2 files." in page
    assert "file /data/&lt;b&gt; (8192 bytes, mapped by processes 0, 1)" in page
    assert found["workloads"][0]["unsaved"] == [device, file, file | {"bytes": 8192}]
    counts = [row["unsaved"] for row in found["rows"] if row["scope"] == "epoch"]
    assert counts == [0, 0, 3, 0]


def test_a_workload_whose_own_check_fails_is_not_verified(grid: Path) -> None:
    path = grid / "grid" / "live.json"
    check = {"argv": ["./check", "--all"], "exit_code": 2}
    write_json(path, read_json(path) | {"check": check})
    page, found = report(grid, ("grid", 4))
    assert found["workloads"][0]["problems"] == ["the workload's own check failed with exit code 2"]
    assert "./check --all" in page


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def turned_into_another_epochs(path: Path) -> None:
    path.write_bytes((path.parents[1] / "e2" / path.name).read_bytes())


def given_texts_for_numbers(path: Path) -> None:
    value = read_json(path)
    write_json(path, {key: str(item) for key, item in value.items() if key != "schema"})


def given_nonsense_numbers(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'": 0', b'": NaN').replace(b'": 1', b'": -1'))


@pytest.mark.parametrize("damage", [emptied, cut])
@pytest.mark.parametrize(
    "name",
    [
        "live.json",
        "e1/clear.json",
        "e1/advance.json",
        "e1/bitmap.pb",
        "e1/image/manifest.json",
        "e1/layout.json",
        "e1/verify.json",
        "e1/cost/dump.json",
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_shown(
    grid: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(grid / "grid" / name)
    page, found = report(grid, ("grid", 4))
    (notice,) = found["workloads"][0]["notices"]
    assert notice.startswith(f"grid/{name} ")
    assert name in page
    assert str(grid) not in page
    assert [row["epoch"] for row in found["rows"] if row["scope"] == "epoch"] == [0, 1, 2, 3]
    assert found["rows"][-1]["used"] == 512


@pytest.mark.parametrize(
    "damage", [turned_into_another_epochs, given_texts_for_numbers, given_nonsense_numbers]
)
def test_a_verdict_is_not_taken_from_a_wrong_file(
    grid: Path, damage: Callable[[Path], None]
) -> None:
    damage(grid / "grid" / "e1" / "verify.json")
    _, found = report(grid, ("grid", 4))
    assert found["workloads"][0]["headline"] == "Incomplete: 3 of 4 epochs verified"
    assert found["workloads"][0]["notices"][0].startswith("grid/e1/verify.json ")


def test_a_missing_file_or_epoch_is_named_and_the_rest_is_shown(grid: Path) -> None:
    (grid / "grid" / "e0" / "advance.json").unlink()
    page, found = report(grid, ("grid", 5))
    advance, epoch = found["workloads"][0]["notices"]
    assert advance.startswith("grid/e0/advance.json is missing")
    assert epoch == "epoch 4 is missing: there is no grid/e4"
    assert found["workloads"][0]["state"] == "incomplete"
    assert "Not everything was verified" in page


def test_bitmaps_that_contradict_their_counts_are_not_believed(grid: Path) -> None:
    path = grid / "grid" / "e1" / "bitmap.pb"
    bitmaps = BitmapSet.FromString(path.read_bytes())
    bitmaps.regions[0].dirty_count += 1
    write_bytes(path, bitmaps.SerializeToString())
    _, found = report(grid, ("grid", 4))
    assert "bits are set (region 1, dirty)" in found["workloads"][0]["notices"][0]


def test_a_command_that_is_not_unicode_and_numbers_that_cannot_be_do_no_harm(grid: Path) -> None:
    layout, advance = grid / "grid" / "e3" / "layout.json", grid / "grid" / "e1" / "advance.json"
    layout.write_bytes(layout.read_bytes().replace(b'"python3"', b'"\\udcff-odd"'))
    write_json(advance, read_json(advance) | {"running_seconds": 10**400})
    page, found = report(grid, ("grid", 4))
    assert "\\udcff-odd" in page
    assert found["workloads"][0]["notices"] == [
        "grid/e1/advance.json holds `running_seconds` that is not a number from 0 on that can be"
    ]


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    page, found = report(tmp_path)
    assert "No workload is listed" in page
    assert found["rows"] == found["workloads"] == []
