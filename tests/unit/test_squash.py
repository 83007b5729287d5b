"""Images lose their parents, and their children do not notice."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
from image_fixture import SMALL_CHAIN, Content, page_of, small_chain, write

from tidemark.checkpoint.keep import keep_last
from tidemark.checkpoint.series import Series
from tidemark.errors import ImageError
from tidemark.image import squash as squashing
from tidemark.image.chain import Chain, open_images
from tidemark.image.check import check_image
from tidemark.image.squash import squash
from tidemark.native.library import LackingError

if TYPE_CHECKING:
    from pathlib import Path

PAGES = 16
MARKS = ["directory.json", "lock"]
"""What is always within the mark of a series."""


def content(image: Path) -> dict[int, bytes]:
    """Return what an image holds, by region."""
    check_image(image)
    with Chain(image) as chain:
        return {number: chain.region(number).source.read(0, PAGES) for number in chain.regions()}


def series_of(directory: Path, count: int) -> Series:
    """Write a chain of checkpoints, each with a page of its own and one that all store to."""
    series = Series(directory)
    for number in range(count):
        new = Content({0: 100 + number, 1 + number: number}, range(1, 1 + number))
        write(series.image(number), {1: new}, series.image(number - 1) if number else None, number)
    return series


def check_series(series: Series, number: int) -> None:
    """Check that a checkpoint of :func:`series_of` is as it was written."""
    tags = {0: 100 + number} | {1 + n: n for n in range(1, number + 1)}
    (found,) = content(series.image(number)).values()
    size = len(page_of(0))
    for page, tag in tags.items():
        assert found[page * size : (page + 1) * size] == page_of(tag)


def test_a_squashed_image_has_the_same_content_and_no_parents(tmp_path: Path) -> None:
    *_, newest = small_chain(tmp_path)
    before = content(newest)
    squash(newest, tmp_path / "squashed")
    assert content(newest) == before
    assert len(open_images(newest)) == 1
    with Chain(newest) as chain:
        assert {n: list(chain.content(n).runs()) for n in chain.regions()} == {
            1: [(0, 4), (9, 1)],
            2: [(3, 1), (5, 1)],
        }
    assert set(SMALL_CHAIN) == set(before)
    assert [path.name for path in newest.parent.iterdir()] == ["image"]


def test_a_child_takes_the_squashed_image_for_its_parent(tmp_path: Path) -> None:
    oldest, middle, newest = small_chain(tmp_path)
    before = content(newest)
    squash(middle, tmp_path / "squashed")
    shutil.rmtree(oldest)
    assert content(newest) == before
    assert len(open_images(newest)) == 2


def test_a_child_of_a_squashed_image_takes_no_other_for_its_parent(tmp_path: Path) -> None:
    *_, middle, newest = small_chain(tmp_path)
    squash(middle, tmp_path / "squashed")
    shutil.rmtree(middle)
    write(middle, {1: Content({0: 1}), 2: Content({3: 2})})
    with pytest.raises(ImageError, match="is not the parent that"):
        open_images(newest)


def test_a_damaged_parent_is_not_squashed_into_what_looks_sound(tmp_path: Path) -> None:
    oldest, middle, _ = small_chain(tmp_path)
    pages = oldest / "pages-1.img"
    pages.write_bytes(b"\x00" + pages.read_bytes()[1:])
    with pytest.raises(ImageError, match="is damaged"):
        squash(middle, tmp_path / "squashed")
    assert [path.name for path in middle.parent.iterdir()] == ["image"]


def test_a_squash_that_is_broken_off_leaves_the_chain_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, middle, newest = small_chain(tmp_path)
    before = content(newest)

    def refuse(*_: object) -> None:
        raise LackingError("it cannot", 0, 0, 0, 0)

    monkeypatch.setattr(squashing, "exchange", refuse)
    with pytest.raises(LackingError):
        squash(middle, tmp_path / "squashed")
    assert content(newest) == before
    assert [path.name for path in middle.parent.iterdir()] == ["image"]


@pytest.mark.parametrize("kept", [1, 2, 4])
def test_the_last_checkpoints_stay_and_can_be_restored(tmp_path: Path, kept: int) -> None:
    with series_of(tmp_path, 5) as series:
        keep_last(series, kept)
        assert series.numbers() == list(range(5 - kept, 5))
        for number in series.numbers():
            check_series(series, number)
        assert len(open_images(series.image(4))) == kept


def test_checkpoints_that_branch_off_are_kept_each_with_what_it_needs(tmp_path: Path) -> None:
    with series_of(tmp_path, 3) as series:
        write(series.image(3), {1: Content({0: 103, 4: 3}, [1, 2])}, series.image(1), 3)
        before = {number: content(series.image(number)) for number in (2, 3)}
        keep_last(series, 2)
        assert series.numbers() == [2, 3]
        assert {number: content(series.image(number)) for number in (2, 3)} == before


def test_what_a_killed_squash_left_is_removed_and_the_next_goes_on(tmp_path: Path) -> None:
    with series_of(tmp_path, 4) as series:
        series.squash(2)
        (tmp_path / ".tidemark" / "squashed-2").mkdir()
        (tmp_path / ".tidemark" / "removed-0").mkdir()
    with Series(tmp_path) as series:
        keep_last(series, 2)
        assert series.numbers() == [2, 3]
        check_series(series, 3)
    assert sorted(path.name for path in (tmp_path / ".tidemark").iterdir()) == MARKS


def test_what_a_killed_writer_left_is_no_checkpoint_and_is_removed(tmp_path: Path) -> None:
    with series_of(tmp_path, 2) as series:
        left = series.stage()
        (left / ".image.1234.tmp").mkdir()
        (left / "layout.json").write_text("{}")
    with Series(tmp_path) as series:
        assert series.numbers() == [0, 1]
        assert series.next_number() == 2
    assert sorted(path.name for path in (tmp_path / ".tidemark").iterdir()) == MARKS


def test_checkpoints_are_written_over_the_files_of_those_that_went(tmp_path: Path) -> None:
    with series_of(tmp_path, 3) as series:
        gone = series.image(0) / "pages-1.img"
        before = gone.stat().st_ino
        size = gone.stat().st_size
        series.remove(0)
        taken = series.spares.take(tmp_path / "new.img", size)
        assert taken is not None
        with taken:
            assert os.fstat(taken.fileno()).st_ino == before
            assert os.fstat(taken.fileno()).st_size == size
    assert not (tmp_path / ".tidemark" / "spares").exists()


def test_a_chain_that_is_kept_short_stays_what_it_was(tmp_path: Path) -> None:
    inodes = []
    with series_of(tmp_path, 3) as series:
        for number in range(3, 12):
            new = Content({0: 100 + number, 1 + number: number}, range(1, 1 + number))
            write(
                series.image(number),
                {1: new},
                series.image(number - 1),
                number,
                spares=series.spares,
            )
            keep_last(series, 2)
            assert series.numbers() == [number - 1, number]
            check_series(series, number - 1)
            check_series(series, number)
            inodes += [(series.image(n) / "pages-1.img").stat().st_ino for n in series.numbers()]
    assert len(set(inodes)) < len(inodes) / 2


@pytest.mark.parametrize("way", ["open", "linked"])
def test_a_file_that_somebody_else_uses_is_not_written_over(tmp_path: Path, way: str) -> None:
    with series_of(tmp_path / "series", 2) as series:
        path = series.image(0) / "pages-1.img"
        size, content = path.stat().st_size, path.read_bytes()
        if way == "linked":
            (tmp_path / "kept.img").hardlink_to(path)
        with path.open("rb") if way == "open" else nullcontext() as file:
            series.remove(0)
            assert series.spares.take(tmp_path / "new.img", size) is None
            assert file is None or file.read() == content
        assert way == "open" or (tmp_path / "kept.img").read_bytes() == content


def test_a_spare_that_is_opened_later_or_too_long_is_left_alone(tmp_path: Path) -> None:
    with series_of(tmp_path, 2) as series:
        size = (series.image(0) / "pages-1.img").stat().st_size
        series.remove(0)
        (spare,) = (tmp_path / ".tidemark" / "spares").iterdir()
        with spare.open("rb"):
            assert series.spares.take(tmp_path / "new.img", size) is None
        assert series.spares.take(tmp_path / "new.img", 3 * size) is None
        assert series.spares.take(tmp_path / "new.img", size // 3) is None
