"""A series goes on: one of a former version, one that is damaged, and after a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from series_fixture import add, fill, names

from tidemark.checkpoint.keep import DamagedError, keep_last, keep_sound
from tidemark.checkpoint.series import Series
from tidemark.errors import StorageError
from tidemark.image.check import check_image

if TYPE_CHECKING:
    from pathlib import Path

    from tidemark.checkpoint.take import Taken


def former(directory: Path) -> None:
    """Have a series look as a former version has left it."""
    shutil.rmtree(directory / ".tidemark")
    (directory / ".lock").write_text("process 1 on here\n")
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_series_of_a_former_version_goes_on(tmp_path: Path) -> None:
    with fill(Series(tmp_path), 3):
        pass
    former(tmp_path)
    (tmp_path / "000001" / ".image.squashed").mkdir()
    (tmp_path / "000003" / ".image.77.tmp").mkdir(parents=True)
    (tmp_path / ".2.removed").mkdir()
    with Series(tmp_path) as series:
        assert series.numbers() == [0, 1, 2]
        assert series.next_number() == 4
        keep_last(series, 1)
        assert series.numbers() == [2]
        check_image(series.image(2))
    assert names(tmp_path) == [".2.removed", ".lock", ".tidemark", "000002", "000003"]


@pytest.mark.parametrize("spoilt", ["manifest.json", "inventory.img", "pages-1.img"])
def test_a_series_of_a_former_version_goes_on_though_one_is_damaged(
    tmp_path: Path, spoilt: str
) -> None:
    with fill(Series(tmp_path), 2):
        pass
    former(tmp_path)
    (tmp_path / "000000" / "image" / spoilt).write_bytes(b"\0")
    with Series(tmp_path) as series:
        assert series.numbers() == [0, 1]


@pytest.mark.parametrize("name", ["000001/thesis", "000002/thesis", "thesis", "000002/image"])
def test_what_only_looks_like_one_of_a_former_version_is_refused(tmp_path: Path, name: str) -> None:
    with fill(Series(tmp_path), 2):
        pass
    former(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("precious")
    with pytest.raises(StorageError, match="it holds what is not Tidemark's"):
        Series(tmp_path)
    assert (tmp_path / name).read_text() == "precious"


def test_a_lock_alone_is_what_a_former_version_left_before_its_first(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("process 1 on here\n")
    with Series(tmp_path) as series:
        assert series.numbers() == []


# A full disk, and damage


def go_on(series: Series, count: int) -> None:
    for number in range(1, count):
        add(series, number, number - 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_after_a_full_disk_the_series_is_sound_and_the_next_one_is_written(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "tidemark-test", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not allow to mount a tmpfs")
    try:
        with fill(Series(tmp_path / "series"), 1) as series:
            with pytest.raises(StorageError, match="the file system is full"):
                go_on(series, 9)
            numbers = series.numbers()
            check_image(series.image(numbers[-1]))
        assert sorted(names(tmp_path / "series" / ".tidemark")) == ["directory.json", "lock"]
        subprocess.run(["mount", "-o", "remount,size=400k", str(tmp_path)], check=True)
        with Series(tmp_path / "series") as series:
            add(series, series.next_number(), numbers[-1])
            keep_last(series, 1)
            check_image(series.image(series.numbers()[-1]))
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


FILES = ["manifest.json", "inventory.img", "pagemap-shmem-1.img", "pages-1.img"]


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoilt", ["manifest.json", "inventory.img", "pagemap-shmem-1.img", "pages-1.img"]
)
def test_where_the_last_one_needs_what_is_damaged_one_is_taken_in_full(
    tmp_path: Path, spoilt: str
) -> None:
    with fill(Series(tmp_path), 4) as series:
        spoil(series.image(0) / spoilt)
        with pytest.raises(DamagedError):
            keep_last(series, 2)
        assert series.numbers() == [0, 1, 2, 3]

        def in_full() -> Taken:
            add(series, series.next_number(), None)
            return TAKEN

        assert keep_sound(series, 2, in_full) is TAKEN
        check_image(series.image(4))
        assert keep_sound(series, 2, in_full) is None
        add(series, 5, 4)
        assert keep_sound(series, 2, in_full) is None
        assert series.numbers() == [4, 5]
        check_image(series.image(5))


TAKEN: Taken = object()  # type: ignore[assignment]
