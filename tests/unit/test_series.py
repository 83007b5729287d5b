"""A series removes and writes what is ours, whatever else stands in its directory."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from series_fixture import add, fill, names
from strangers import STRANGER, as_stranger

from tidemark.checkpoint.keep import keep_last, keep_sound
from tidemark.checkpoint.series import ForeignError, Series
from tidemark.errors import BusyError, StorageError
from tidemark.image.check import check_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidemark.checkpoint.take import Taken


def foreign_directory(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("precious")


def foreign_link(path: Path) -> None:
    (path.parent / "thesis.txt").write_text("precious")
    path.symlink_to("thesis.txt")


FOREIGN: dict[str, Callable[[Path], None]] = {
    "directory": foreign_directory,
    "empty directory": lambda path: path.mkdir(),
    "file": lambda path: path.touch(),
    "link": foreign_link,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "fifo": os.mkfifo,
}


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("name", ["000000", "20251125", "thesis", ".lock", ".spares", ".0.removed"])
def test_a_directory_with_anything_foreign_is_refused(tmp_path: Path, what: str, name: str) -> None:
    FOREIGN[what](tmp_path / name)
    before = names(tmp_path)
    with pytest.raises(StorageError, match="it holds what is not Tidemark's"):
        Series(tmp_path)
    assert names(tmp_path) == before


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("name", ["000001", "20251125", ".7.removed", ".spares"])
def test_what_comes_into_a_series_later_stays(tmp_path: Path, what: str, name: str) -> None:
    with Series(tmp_path / "series") as series:
        add(series, 0, None)
        FOREIGN[what](tmp_path / "series" / name)
    for round_ in range(3):
        with Series(tmp_path / "series") as series:
            number = series.next_number()
            assert number == max(series.numbers()) + 1 + (name == "000001" and round_ == 0)
            add(series, number, None)
            keep_last(series, 1)
            assert series.numbers() == [number]
    assert name in names(tmp_path / "series")
    if what == "directory":
        assert (tmp_path / "series" / name / "thesis.txt").read_text() == "precious"


def test_the_copy_of_a_checkpoint_under_another_number_stays(tmp_path: Path) -> None:
    with fill(Series(tmp_path), 3) as series:
        shutil.copytree(series.path(0), tmp_path / "20251125")
        assert series.next_number() == 3
        keep_last(series, 1)
        assert series.numbers() == [2]
    assert "20251125" in names(tmp_path)
    check_image(tmp_path / "20251125" / "image")


def test_a_checkpoint_with_a_foreign_file_stays_with_what_it_needs(tmp_path: Path) -> None:
    with fill(Series(tmp_path), 4) as series:
        mine = series.path(1) / "notes.txt"
        mine.write_text("mine")
        keep_last(series, 1)
        assert series.numbers() == [1, 3]
        for number in (1, 3):
            check_image(series.image(number))
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("name", ["notes.txt", "pages-9.img"])
def test_an_image_with_a_foreign_file_is_not_merged(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with fill(Series(tmp_path), 4) as series:
        mine = series.image(2) / name
        mine.write_text("mine")
        with pytest.raises(ForeignError):
            keep_last(series, 2)
        assert keep_sound(series, 2, unwanted) is None
        assert f"({mine.relative_to(series.path(2))})" in caplog.text
        assert series.numbers() == [0, 1, 2, 3]
        check_image(series.image(3))
    assert mine.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("name", ["000001", "000001/image"])
def test_what_is_mounted_in_a_series_is_not_emptied(tmp_path: Path, name: str) -> None:
    with fill(Series(tmp_path / "series"), 4) as series:
        place, archive = tmp_path / "series" / name, tmp_path / "archive"
        shutil.copytree(place, archive, symlinks=True)
        before = sorted(path.name for path in archive.rglob("*"))
        subprocess.run(["mount", "--bind", archive, place], check=True)
        try:
            with pytest.raises(ForeignError, match="a mount"):
                keep_last(series, 1)  # this one needs the one before
            assert series.numbers() == [0, 1, 2, 3]
            assert sorted(path.name for path in archive.rglob("*")) == before
        finally:
            subprocess.run(["umount", place], check=True)


def unwanted() -> Taken:
    raise AssertionError("nothing is damaged")


def test_a_checkpoint_behind_a_link_is_not_touched(tmp_path: Path) -> None:
    with fill(Series(tmp_path / "series"), 2) as series:
        series.path(0).rename(tmp_path / "archive")
        series.path(0).symlink_to("../archive")
        before = {path: path.stat().st_ino for path in (tmp_path / "archive").rglob("*")}
        assert series.next_number() == 2
        add(series, 2, 1)
        keep_last(series, 1)
        assert series.numbers() == [2]
        check_image(series.image(2))
    assert {path: path.stat().st_ino for path in (tmp_path / "archive").rglob("*")} == before
    check_image(tmp_path / "archive" / "image")


def test_content_is_for_its_owner_alone_whatever_the_umask_and_the_spares_were(
    tmp_path: Path,
) -> None:
    before = os.umask(0)
    try:
        with fill(Series(tmp_path / "series"), 2) as series:
            for path in series.directory.rglob("*"):
                path.chmod(0o777 if path.is_dir() else 0o666)  # as in a series of a former version
            series.remove(0)
            staged = series.stage()
            size = (series.image(1) / "pages-1.img").stat().st_size
            taken = series.spares.take(staged / "pages-1.img", size)
            assert taken is not None
            taken.close()
            assert stat.S_IMODE((staged / "pages-1.img").stat().st_mode) == 0o600
            add(series, 2, None)
            for path in (series.path(2), *series.path(2).rglob("*")):
                wanted = 0o700 if path.is_dir() else 0o600
                assert stat.S_IMODE(path.stat().st_mode) == wanted
    finally:
        os.umask(before)


def test_a_group_reads_and_goes_on_in_a_series_that_is_made_for_it(open_to_all: Path) -> None:
    shared = open_to_all / "shared"
    shared.mkdir()
    os.chown(shared, 0, STRANGER)
    shared.chmod(0o2770)
    with fill(Series(shared, 0o660), 2):
        busy = as_stranger(lambda: str(Series(shared, 0o660).numbers()))
        assert busy.startswith(BusyError.__name__)

    def go_on() -> str:
        with Series(shared, 0o660) as series:
            add(series, 2, 1)
            keep_last(series, 1)
            check_image(series.image(2))
            return str(series.numbers())

    assert as_stranger(go_on) == "[2]"
    with Series(shared) as series:
        assert series.numbers() == [2]
        add(series, 3, 2)
        keep_last(series, 1)
        check_image(series.image(3))


def test_a_stranger_reaches_nothing_of_a_series(open_to_all: Path) -> None:
    with fill(Series(open_to_all / "series"), 1):
        said = as_stranger(lambda: str(names(open_to_all / "series")))
    assert said.startswith("PermissionError")


def test_in_a_directory_of_a_stranger_only_what_is_ours_counts(open_to_all: Path) -> None:
    his = open_to_all / "his"
    his.mkdir()
    os.chown(his, STRANGER, STRANGER)
    with fill(Series(his), 2):
        pass

    def slip_in() -> str:
        (his / "000001").rename(his / "000009")
        (his / "000009.link").symlink_to("000009")
        shutil.move(his / "000009.link", his / "000001")
        (his / "000005").mkdir()
        return "done"

    assert as_stranger(slip_in) == "done"
    with Series(his) as series:
        assert series.numbers() == [0]
        number = series.next_number()
        add(series, number, None)
        keep_last(series, 1)
        assert series.numbers() == [number]
    check = (his / "000009" / "image" / "manifest.json").stat()
    assert check.st_uid == 0


def test_a_checkpoint_is_durable_with_all_directories_that_were_made_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = set()
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    with fill(Series(tmp_path / "a" / "b" / "c"), 1):
        assert synced >= {
            tmp_path,
            tmp_path / "a",
            tmp_path / "a" / "b",
            tmp_path / "a" / "b" / "c",
        }
        mark = tmp_path / "a" / "b" / "c" / ".tidemark"
        assert synced >= {mark, mark / "new"}
