"""An image is written whole, under its name, or not at all."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from image_fixture import VOUCHED, Content, pages_of, small_chain, write

from tidemark.cli import show
from tidemark.errors import ImageError, StorageError, UnsupportedError
from tidemark.image.chain import Chain
from tidemark.image.check import check_image
from tidemark.image.manifest_reader import load_manifest
from tidemark.image.pagemap import MAX_PAGES
from tidemark.image.staging import remove_leftovers
from tidemark.image.writer import RegionDump, write_image
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE, ShortReadError
from tidemark.native.pages import Source, hash_of

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL = {1: Content({0: 1, 5: 2}), 2: Content({3: 3})}
FSYNCS = 8
"""How often writing FULL makes something durable."""


def tree(root: Path) -> dict[str, bytes | str]:
    """Return all files and links below ``root``, hidden ones too."""
    return {
        str(path.relative_to(root)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_two_writes_of_one_input_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other/and/deeper"):
        small_chain(tmp_path / name)
    assert tree(tmp_path / "one") == tree(tmp_path / "other/and/deeper")


def test_an_image_holds_criu_s_files_and_the_manifest(tmp_path: Path) -> None:
    image = small_chain(tmp_path)[2]
    assert sorted(path.name for path in image.iterdir()) == [
        "inventory.img",
        "manifest.json",
        "pagemap-shmem-1.img",
        "pagemap-shmem-2.img",
        "pages-1.img",
        "pages-2.img",
        "parent",
    ]
    assert (image / "pages-2.img").stat().st_size == 0
    assert str((image / "parent").readlink()) == "../../e1/image"


def test_the_manifest_that_is_returned_is_the_one_that_is_written(tmp_path: Path) -> None:
    written = write(tmp_path / "image", FULL)
    loaded, _ = load_manifest(tmp_path / "image" / "manifest.json")
    assert loaded == written
    assert [region.shmid for region in loaded.regions] == [1, 2]
    assert loaded.regions[0].account == VOUCHED


def test_the_manifest_says_what_the_documentation_says(tmp_path: Path) -> None:
    image = small_chain(tmp_path)[1]
    value = json.loads((image / "manifest.json").read_text())
    assert set(value) == {
        *("schema", "page_size", "workload", "epoch", "tracker", "parent", "files", "regions"),
        *("checksum", "stands_for"),
    }
    assert value["parent"]["path"] == "../../e0/image"
    assert set(value["regions"][0]) == {
        *("shmid", "kind", "pages", "full", "full_reason", "present", "in_parent"),
        *("page_hashes", "vouched", "settled", "suspects", "settled_changed"),
        *("unchanged", "audited", "cleared"),
    }


def test_a_pages_file_is_recorded_by_the_hashes_of_its_pages(tmp_path: Path) -> None:
    manifest = write(tmp_path / "image", FULL)
    for region in manifest.regions:
        record = manifest.files[f"pages-{region.shmid}.img"]
        assert record.bytes == region.present * PAGE_SIZE
        assert record.xxh3 == hash_of(region.page_hashes).hex()


def test_the_parent_is_only_read(tmp_path: Path) -> None:
    write(tmp_path / "e0", {1: Content({0: 1})})
    before = tree(tmp_path / "e0")
    times = [path.stat().st_mtime_ns for path in sorted((tmp_path / "e0").iterdir())]
    write(tmp_path / "e1", {1: Content({1: 2}, [0])}, tmp_path / "e0")
    assert tree(tmp_path / "e0") == before
    assert times == [path.stat().st_mtime_ns for path in sorted((tmp_path / "e0").iterdir())]


def test_the_order_of_the_regions_does_not_matter(tmp_path: Path) -> None:
    write(tmp_path / "a", FULL)
    write(tmp_path / "b", dict(reversed(FULL.items())))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_the_parent_link_is_right_where_directories_are_links(tmp_path: Path) -> None:
    (tmp_path / "scratch" / "deep" / "results").mkdir(parents=True)
    (tmp_path / "results").symlink_to("scratch/deep/results")
    images = small_chain(tmp_path / "results")
    assert str((images[2] / "parent").readlink()) == "../../e1/image"
    assert check_image(tmp_path / "scratch/deep/results/e2/image").images == 3


def test_a_relative_target_and_parent_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("e0"), {1: Content({0: 1})})
    write(Path("e1"), {1: Content({}, [0])}, Path("e0"))
    assert str(Path("e1/parent").readlink()) == "../e0"
    assert check_image(Path("e1")).pages == 1


def test_an_empty_directory_at_the_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    write(tmp_path / "image", FULL)
    assert check_image(tmp_path / "image").pages == 3


@pytest.mark.parametrize("kind", ["file", "link", "dangling", "dump", "directory"])
def test_a_target_that_holds_something_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "image"
    match kind:
        case "file":
            target.write_text("mine")
        case "link":
            (tmp_path / "empty").mkdir()
            target.symlink_to("empty")
        case "dangling":
            target.symlink_to("missing")
        case "dump":
            write(target, {1: Content({0: 9})})
        case _:
            target.mkdir()
            (target / "mine").touch()
    before = tree(tmp_path)
    with pytest.raises(StorageError, match="is there already; remove it"):
        write(target, FULL)
    assert tree(tmp_path) == before


def test_a_target_that_appears_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def late(staging: Path, target: Path) -> Path:
        target.mkdir()
        (target / "mine").touch()
        return rename(staging, target)

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(StorageError):
        write(tmp_path / "image", FULL)
    assert list(tree(tmp_path)) == ["image/mine"]


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_has_is_not(
    tmp_path: Path,
) -> None:
    for pid in (1, 2):
        (tmp_path / f".image.{pid}.tmp").mkdir()
        (tmp_path / f".image.{pid}.tmp" / "pages-1.img").touch()
    living = os.open(tmp_path / ".image.2.tmp", os.O_RDONLY)
    fcntl.flock(living, fcntl.LOCK_EX)
    write(tmp_path / "image", FULL)
    os.close(living)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".image.2.tmp", "image"]


def test_a_writer_that_lives_is_told_from_one_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "image"
    monkeypatch.setattr(os, "fsync", lambda _: remove_leftovers(target))
    write(target, FULL)
    assert check_image(target).pages == 3


@pytest.mark.parametrize("step", range(FSYNCS))
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failure_at_any_step_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, code: int
) -> None:
    calls = iter(range(FSYNCS))
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        if next(calls) == step:
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    (tmp_path / "results").mkdir()
    monkeypatch.setattr(os, "fsync", failing)
    target = tmp_path / "results" / "image"
    with pytest.raises(StorageError, match=f"cannot write {target}: ") as caught:
        write(target, FULL)
    if code == errno.ENOSPC:
        assert "the file system is full; free some space" in str(caught.value)
    if step < FSYNCS - 1:
        assert list((tmp_path / "results").iterdir()) == []
    else:  # it was published, and only that its name is durable is not known
        monkeypatch.undo()
        assert check_image(target).pages == 3


def test_those_were_all_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    write(tmp_path / "image", FULL)
    assert len(calls) == FSYNCS


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "image", FULL)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tidemark-test", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(small_disk: Path) -> None:
    content = Content({page: page for page in range(64)}, length=64)
    target = small_disk / "image"
    with pytest.raises(StorageError, match=f"cannot write {target}: the file system is full"):
        write(target, {1: content})
    assert list(small_disk.iterdir()) == []
    write(target, {1: Content({0: 1})})
    assert check_image(target).pages == 1


def test_a_source_that_is_too_short_leaves_nothing(tmp_path: Path) -> None:
    descriptor = os.memfd_create("short")
    os.truncate(descriptor, PAGE_SIZE)
    region = RegionDump(
        number=1,
        kind="memfd",
        pages=4,
        present=pages_of([0, 2], 4),
        in_parent=pages_of([], 4),
        source=Source.file(descriptor, 4),
        account=VOUCHED,
    )
    (tmp_path / "results").mkdir()
    with pytest.raises(ShortReadError):
        write_image(
            tmp_path / "results/image", [region], workload="w", epoch=0, tracker="t", parent=None
        )
    os.close(descriptor)
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.parametrize(
    ("regions", "words"),
    [
        ({1: Content({}, [0, 6])}, "region 1: page 6 cannot be left to the parent"),
        ({2: Content({}, [0])}, "region 2: page 0 cannot be left to the parent"),
        ({1: Content({0: 1}, [0])}, "region 1: page 0 is both here and in the parent"),
    ],
)
def test_a_page_that_the_parent_lacks_cannot_be_left_to_it(
    tmp_path: Path, regions: dict[int, Content], words: str
) -> None:
    write(tmp_path / "e0", {1: Content({0: 1})})
    before = tree(tmp_path)
    with pytest.raises(ImageError, match=words):
        write(tmp_path / "e1", regions, tmp_path / "e0")
    assert tree(tmp_path) == before


def test_a_page_cannot_be_left_to_no_parent(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="page 2 cannot be left to the parent, there is no parent"):
        write(tmp_path / "image", {1: Content({}, [2])})


def test_a_page_cannot_be_left_to_a_parent_whose_own_parent_is_lost(tmp_path: Path) -> None:
    write(tmp_path / "e0", {1: Content({0: 1})})
    write(tmp_path / "e1", {1: Content({}, [0])}, tmp_path / "e0")
    shutil.rmtree(tmp_path / "e0")
    with pytest.raises(ImageError, match="e1/parent leads to no dump"):
        write(tmp_path / "e2", {1: Content({}, [0])}, tmp_path / "e1")


def test_a_dump_of_criu_s_cannot_be_a_parent(tmp_path: Path) -> None:
    case = Path(__file__).parents[1] / "data/criu/criu-4.2/a-stock"
    with pytest.raises(ImageError, match=r"a-stock/manifest.json is missing"):
        write(tmp_path / "image", {975: Content({}, [0])}, case)


def test_a_region_that_no_image_can_hold_is_refused_before_it_is_written(tmp_path: Path) -> None:
    pages = MAX_PAGES + 1
    nothing = Bitmap(pages)
    region = RegionDump(
        number=1,
        kind="memfd",
        pages=pages,
        present=nothing,
        in_parent=nothing,
        source=Source([]),
        account=VOUCHED,
    )
    with pytest.raises(UnsupportedError, match=rf"holds up to {MAX_PAGES} of one"):
        write_image(tmp_path / "x", [region], workload="w", epoch=0, tracker="t", parent=None)
    assert list(tmp_path.iterdir()) == []


def test_a_page_beyond_its_region_is_refused(tmp_path: Path) -> None:
    region = RegionDump(
        number=1,
        kind="memfd",
        pages=2,
        present=pages_of([2], 4),
        in_parent=pages_of([], 4),
        source=Source([]),
        account=VOUCHED,
    )
    with pytest.raises(ImageError, match="region 1 has only 2 pages"):
        write_image(tmp_path / "x", [region], workload="w", epoch=0, tracker="t", parent=None)


LARGE = """
import os, sys
from pathlib import Path
from image_fixture import VOUCHED, peak
from tidemark.image.chain import Chain
from tidemark.image.check import check_image
from tidemark.image.writer import RegionDump, write_image
from tidemark.native.bitmap import Bitmap
from tidemark.native.pages import Source, hash_of

pages = 65536
memory = os.memfd_create("large")
for _ in range(pages // 256):
    os.write(memory, os.urandom(1 << 20))
target = Path(sys.argv[1])
region = RegionDump(
    number=1, kind="memfd", pages=pages, present=Bitmap(pages, [(0, pages)]),
    in_parent=Bitmap(pages), source=Source.file(memory, pages), account=VOUCHED,
)
write_image(target, [region], workload="w", epoch=0, tracker="t", parent=None)
assert check_image(target).pages == pages
with Chain(target) as chain:
    read = chain.region(1)
    assert not read.source.differing(region.source, read.present)
print(peak())
"""


def test_an_image_of_256_mib_is_written_checked_and_read_in_a_quarter_of_that(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", LARGE, str(tmp_path / "image")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    output = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    assert int(output) < 64 << 20


def test_show_lists_a_chain_newest_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_chain(tmp_path)
    parser = ArgumentParser()
    show.add_arguments(parser)
    show.run(parser.parse_args(["--chain", str(tmp_path / "e2")]))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == (
        f"{tmp_path}/e2/image: epoch 2 of grid, tracker uffd-wp, parent ../../e1/image"
    )
    assert lines[1] == "region kind pages present in parent holes bytes"
    assert lines[2] == "1 anonymous 16 2 3 11 8192"
    assert lines[4] == (
        "region 1: 4 pages vouched for, 2 settled by content (1 changed), 0 cleared; suspects: "
        "exited 1, unmapped 2"
    )
    assert sum("epoch" in line for line in lines) == 3
    assert lines.index(f"{tmp_path}/e0/image: epoch 0 of grid, tracker uffd-wp, no parent") > 6


def test_show_prints_a_chain_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_chain(tmp_path)
    parser = ArgumentParser()
    show.add_arguments(parser)
    show.run(parser.parse_args(["--chain", "--json", str(tmp_path / "e2" / "image")]))
    value = json.loads(capsys.readouterr().out)
    assert value["parent"] == "../../e1/image"
    assert value["regions"][0]["runs"] == [[0, 2, "parent"], [2, 2, "present"], [9, 1, "parent"]]
    assert [image["epoch"] for image in value["chain"]] == [2, 1, 0]
    assert value["regions"] == value["chain"][0]["regions"]
    assert value["regions"][1]["vouched"] == VOUCHED.vouched


def test_reading_a_chain_leaves_no_descriptor(tmp_path: Path) -> None:
    images = small_chain(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    check_image(images[2])
    with Chain(images[2]) as chain:
        chain.region(1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
