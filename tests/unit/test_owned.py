"""Directories of ours are told from others by a mark, and nobody can slip anything into them."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from strangers import as_stranger

from tidemark.directories import open_directory
from tidemark.errors import StorageError
from tidemark.files import PUBLIC, write_bytes
from tidemark.owned import Kind, OwnDirectory, is_marked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KIND = Kind("checkpoints", "the directory of a test", lambda _, names: next(iter(names), None))
OTHER = Kind("results", "the directory of a game", lambda _, names: next(iter(names), None))
STRANGER = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user's files need root")


@pytest.fixture(params=[0, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.usefixtures("umask")
def test_what_is_made_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    OwnDirectory(tmp_path / "a" / "b", KIND).close()
    write_bytes(tmp_path / "a" / "b" / "secret", b"memory")
    for path in (tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / ".tidemark"):
        assert mode(path) == 0o700
    for name in ("secret", ".tidemark/directory.json"):
        assert mode(tmp_path / "a" / "b" / name) == 0o600


def test_what_holds_no_memory_is_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    write_bytes(tmp_path / "made" / "report.html", b"counts", PUBLIC)
    os.umask(before)
    assert mode(tmp_path / "made") == 0o750
    assert mode(tmp_path / "made" / "report.html") == 0o640


@pytest.mark.parametrize("what", ["file", "directory", "link", "fifo"])
def test_a_directory_with_something_foreign_is_refused_and_left_as_it_is(
    tmp_path: Path, what: str
) -> None:
    path = tmp_path / "thesis"
    if what == "file":
        path.write_text("precious")
    elif what == "directory":
        path.mkdir()
    elif what == "link":
        path.symlink_to("/etc")
    else:
        os.mkfifo(path)
    with pytest.raises(StorageError, match=r"it holds what is not Tidemark's \(thesis\)"):
        OwnDirectory(tmp_path, KIND)
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_is_marked_may_hold_other_things_later(tmp_path: Path) -> None:
    OwnDirectory(tmp_path, KIND).close()
    (tmp_path / "notes.txt").write_text("mine")
    OwnDirectory(tmp_path, KIND).close()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_directory_of_another_kind_is_refused(tmp_path: Path) -> None:
    OwnDirectory(tmp_path, OTHER).close()
    with pytest.raises(StorageError, match=r"marked for another use \(results\)"):
        OwnDirectory(tmp_path, KIND)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[]",
        '{"schema": 1}',
        '{"schema": 1, "kind": "checkpoints", "mode": "999"}',
        '{"schema": 1, "kind": "chackpoints", "mode": "600"}',
    ],
)
def test_a_mark_that_is_damaged_is_made_anew_where_nothing_foreign_is(
    tmp_path: Path, said: str
) -> None:
    OwnDirectory(tmp_path, KIND, 0o640).close()
    mark = tmp_path / ".tidemark" / "directory.json"
    mark.write_text(said)
    (tmp_path / "thesis").write_text("precious")
    with pytest.raises(StorageError, match=r"not Tidemark's \(thesis\)"):
        OwnDirectory(tmp_path, KIND)
    (tmp_path / "thesis").unlink()
    assert OwnDirectory(tmp_path, KIND).mode == 0o640
    assert json.loads(mark.read_text())["mode"] == "640"


def test_where_everybody_can_write_what_is_found_by_its_name_has_no_place(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(StorageError, match="everybody can write to it"):
        OwnDirectory(tmp_path, replace(KIND, found_by_name=True))
    assert list(tmp_path.iterdir()) == []
    tmp_path.chmod(0o1777)
    OwnDirectory(tmp_path, replace(KIND, found_by_name=True)).close()


@pytest.mark.parametrize("what", ["file", "link"])
def test_a_name_alone_is_no_mark(tmp_path: Path, what: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    mark = tmp_path / "dir" / ".tidemark"
    mark.parent.mkdir()
    if what == "file":
        mark.write_text("")
    else:
        mark.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="is no directory"):
        OwnDirectory(mark.parent, KIND)
    assert not is_marked(mark.parent)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_mark_of_which_the_maker_was_killed_is_made_whole(tmp_path: Path) -> None:
    (tmp_path / ".tidemark").mkdir(mode=0o700)
    OwnDirectory(tmp_path, KIND).close()
    said = json.loads((tmp_path / ".tidemark" / "directory.json").read_text())
    assert (said["kind"], said["mode"]) == ("checkpoints", "600")


def test_a_mark_without_a_word_vouches_for_nothing(tmp_path: Path) -> None:
    (tmp_path / ".tidemark").mkdir(mode=0o700)
    (tmp_path / "thesis").write_text("precious")
    with pytest.raises(StorageError, match=r"not Tidemark's \(thesis\)"):
        OwnDirectory(tmp_path, KIND)


def test_a_directory_of_that_name_with_something_else_in_it_is_no_mark(tmp_path: Path) -> None:
    (tmp_path / ".tidemark").mkdir(mode=0o700)
    (tmp_path / ".tidemark" / "thesis").write_text("precious")
    with pytest.raises(StorageError, match=r"its \.tidemark is not one of Tidemark's"):
        OwnDirectory(tmp_path, KIND)
    assert [path.name for path in (tmp_path / ".tidemark").iterdir()] == ["thesis"]


@as_root
def test_what_mkfs_makes_is_nothing_foreign_unless_somebody_else_has_made_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "lost+found").mkdir(mode=0o700)
    (tmp_path / ".gitkeep").touch()
    os.chown(tmp_path / "lost+found", STRANGER, STRANGER)
    with pytest.raises(StorageError, match=r"not Tidemark's \(lost\+found\)"):
        OwnDirectory(tmp_path, KIND)
    os.chown(tmp_path / "lost+found", 0, 0)
    OwnDirectory(tmp_path, KIND).close()


def test_a_directory_that_is_moved_away_is_told(tmp_path: Path) -> None:
    with OwnDirectory(tmp_path / "here", KIND) as own:
        own.check_place()
        (tmp_path / "here").rename(tmp_path / "there")
        with pytest.raises(StorageError, match="was moved away"):
            own.check_place()


@as_root
@pytest.mark.parametrize("what", ["mark", "writable"])
def test_the_mark_of_another_user_is_not_ours(tmp_path: Path, what: str) -> None:
    mark = tmp_path / ".tidemark"
    mark.mkdir()
    (mark / "directory.json").write_text('{"schema": 1, "kind": "checkpoints", "mode": "600"}')
    if what == "mark":
        os.chown(mark, STRANGER, STRANGER)
    else:
        mark.chmod(0o707)
    with pytest.raises(StorageError, match=r"belongs to user 65534|everybody can write"):
        OwnDirectory(tmp_path, KIND)


@as_root
def test_a_link_of_another_user_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "link").symlink_to("ours")
    OwnDirectory(tmp_path / "link", KIND).close()
    os.chown(tmp_path / "link", STRANGER, STRANGER, follow_symlinks=False)
    for path in (tmp_path / "link", tmp_path / "link" / "below"):
        with pytest.raises(StorageError, match="is a link that user 65534 has made"):
            OwnDirectory(path, KIND)
    assert not (tmp_path / "ours" / "below").exists()


def test_links_of_ours_are_followed_and_endless_ones_are_told(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "one").symlink_to(tmp_path / "ours")
    (tmp_path / "two").symlink_to("./one/../one")
    os.close(open_directory(tmp_path / "two" / "made", 0o700))
    assert (tmp_path / "ours" / "made").is_dir()
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(StorageError, match="cannot write"):
        OwnDirectory(tmp_path / "round", KIND)


@as_root
def test_a_group_shares_a_directory_that_is_made_for_it(open_to_all: Path) -> None:
    shared = open_to_all / "shared"
    shared.mkdir()
    os.chown(shared, 0, STRANGER)
    shared.chmod(0o2770)
    OwnDirectory(shared, KIND, 0o660).close()
    assert mode(shared / ".tidemark") == 0o2770
    assert mode(shared / ".tidemark" / "directory.json") == 0o660

    def joins(asked: int | None) -> str:
        with OwnDirectory(shared, KIND, asked) as own:
            return f"{own.mode:o}"

    assert as_stranger(lambda: joins(0o660)) == "660"
    assert "belongs to user 0" in as_stranger(lambda: joins(None))
    with pytest.raises(StorageError, match="it was made with --mode 660"):
        OwnDirectory(shared, KIND, 0o600)
    assert OwnDirectory(shared, KIND).mode == 0o660
