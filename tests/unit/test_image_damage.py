"""Every damage to an image or its parents is refused, with the file that has it."""

from __future__ import annotations

import json
import shutil
import struct
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_fixture import Content, small_chain, write

from tidemark.cli import fsck, show
from tidemark.console import guard
from tidemark.errors import ImageError, TidemarkError
from tidemark.image.chain import Chain, open_images
from tidemark.image.check import check_image
from tidemark.image.level import walk_levels
from tidemark.native.library import PAGE_SIZE

if TYPE_CHECKING:
    from types import ModuleType

EPOCHS = ("e0", "e1", "e2")
Damage = Callable[[Path], None]
NAMES = (
    "inventory.img",
    "pagemap-shmem-1.img",
    "pagemap-shmem-2.img",
    "pages-1.img",
    "pages-2.img",
    "manifest.json",
)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pristine")
    small_chain(root)
    return root


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    """Return a copy of the small chain, to be damaged."""
    return shutil.copytree(pristine, tmp_path / "root", symlinks=True)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def cut_a_page(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-PAGE_SIZE])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def extend(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def extend_by_a_page(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(PAGE_SIZE))


def flip(path: Path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)


def flip_first(path: Path) -> None:
    flip(path, 0)


def flip_last(path: Path) -> None:
    flip(path, 1)


def zero(path: Path) -> None:
    path.write_bytes(bytes(len(path.read_bytes())))


def swap_two_pages(path: Path) -> None:
    content = path.read_bytes()
    rest = content[2 * PAGE_SIZE :]
    path.write_bytes(content[PAGE_SIZE : 2 * PAGE_SIZE] + content[:PAGE_SIZE] + rest)


def huge_length(path: Path) -> None:
    """Set the length of the first message."""
    content = bytearray(path.read_bytes())
    place = 4 if path.name == "inventory.img" else 8
    content[place : place + 4] = struct.pack("<I", 0x7FFFFFFF)
    path.write_bytes(content)


def become_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


ANY: tuple[Damage, ...] = (
    cut,
    empty,
    extend,
    flip,
    flip_first,
    flip_last,
    zero,
    Path.unlink,
    become_a_directory,
    become_a_device,
)
FRAMED: tuple[Damage, ...] = (*ANY, huge_length)
PAGES: tuple[Damage, ...] = (*ANY, cut_a_page, extend_by_a_page, swap_two_pages)


def damages() -> list[tuple[str, str, Damage]]:
    """Return epoch, file and damage, where that damage changes the file."""
    found: list[tuple[str, str, Damage]] = []
    for epoch in EPOCHS:
        for name in NAMES:
            kinds = PAGES if name.startswith("pages") else FRAMED if ".img" in name else ANY
            if (epoch, name) == ("e2", "pages-2.img"):  # it is empty
                kinds = (extend, Path.unlink, become_a_directory, become_a_device)
            if (epoch, name) == ("e1", "pages-2.img"):  # one page
                kinds = tuple(kind for kind in kinds if kind is not swap_two_pages)
            found += [(epoch, name, kind) for kind in kinds]
    return found


def refused(root: Path, *words: str) -> None:
    with pytest.raises(ImageError) as caught:
        check_image(root / "e2" / "image")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("epoch", "name", "damage"),
    damages(),
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_damaged_file_is_refused_by_its_name(
    root: Path, epoch: str, name: str, damage: Damage
) -> None:
    damage(root / epoch / "image" / name)
    refused(root, f"{root}/{epoch}/image/{name}")


@pytest.mark.parametrize(("epoch", "other"), [("e1", "e0"), ("e2", "e1"), ("e0", "e2")])
@pytest.mark.parametrize("name", NAMES[1:])
def test_a_file_of_another_epoch_is_refused(root: Path, epoch: str, other: str, name: str) -> None:
    shutil.copy(root / other / "image" / name, root / epoch / "image" / name)
    refused(root, f"{root}/{epoch}/image")


def test_the_page_that_was_damaged_is_named(root: Path) -> None:
    path = root / "e1" / "image" / "pages-1.img"
    content = bytearray(path.read_bytes())
    content[PAGE_SIZE + 17] ^= 0x40
    path.write_bytes(content)
    refused(root, str(path), "1 pages of region 1", "page 9")


def test_a_manifest_that_was_edited_is_refused(root: Path) -> None:
    path = root / "e2" / "image" / "manifest.json"
    value = json.loads(path.read_text())
    value["epoch"] = 7
    path.write_text(json.dumps(value, sort_keys=True, indent=1) + "\n")
    refused(root, f"{path} is not as it was written")


def test_a_manifest_is_json_with_sorted_keys_like_every_other_file(root: Path) -> None:
    content = (root / "e2" / "image" / "manifest.json").read_text()
    assert content == json.dumps(json.loads(content), sort_keys=True, indent=1) + "\n"


def test_a_parent_that_was_written_anew_is_refused(root: Path) -> None:
    shutil.rmtree(root / "e0" / "image")
    write(root / "e0" / "image", {1: Content({0: 1, 1: 2, 2: 3, 8: 4}), 2: Content({3: 5, 4: 60})})
    refused(root, f"{root}/e0/image is not the parent that {root}/e1/image was made on")


@pytest.mark.parametrize(
    ("epoch", "parent"),
    [
        ("e2", "../../e0/image"),
        ("e2", "../../e2/image"),
        ("e2", "../../missing/image"),
        ("e1", "../../e2/image"),
        ("e0", "../../e2/image"),
        ("e2", "/"),
    ],
)
def test_a_parent_link_that_was_changed_is_refused(root: Path, epoch: str, parent: str) -> None:
    link = root / epoch / "image" / "parent"
    link.unlink(missing_ok=True)
    link.symlink_to(parent)
    refused(root, str(link), parent)


@pytest.mark.parametrize("damage", [Path.unlink, become_a_directory], ids=lambda d: d.__name__)
def test_a_parent_link_that_is_lost_is_refused(root: Path, damage: Damage) -> None:
    link = root / "e2" / "image" / "parent"
    damage(link)
    refused(root, str(link))


def test_a_parent_that_is_lost_is_refused(root: Path) -> None:
    shutil.rmtree(root / "e0")
    refused(root, f"{root}/e1/image/parent leads to no dump")


def test_a_parent_that_is_no_dump_is_refused(root: Path) -> None:
    shutil.rmtree(root / "e0" / "image")
    (root / "e0" / "image").mkdir()
    refused(root, f"{root}/e0/image is not a dump")


def test_a_region_that_was_added_is_refused(root: Path) -> None:
    image = root / "e1" / "image"
    shutil.copy(image / "pagemap-shmem-2.img", image / "pagemap-shmem-9.img")
    refused(root, str(image), "region 9")


def test_two_page_maps_of_one_pages_file_are_refused(root: Path) -> None:
    image = root / "e0" / "image"
    (image / "manifest.json").unlink()
    (image / "inventory.img").unlink()
    shutil.copy(image / "pagemap-shmem-2.img", image / "pagemap-shmem-9.img")
    shutil.copy(root / "e0/image/pages-2.img", image / "pages-9.img")
    (image / "inventory.img").write_bytes(bytes.fromhex("16313158 02000000 0802"))
    with pytest.raises(ImageError, match=r"pagemap-shmem-9.img names pages-2.img, as region 2"):
        check_image(image)


@pytest.mark.parametrize("name", ["pages-1.img", "pages-2.img"])
@pytest.mark.parametrize("damage", [cut, extend, empty, extend_by_a_page, Path.unlink])
def test_content_of_a_wrong_length_is_refused_by_a_reader_without_a_check(
    root: Path, name: str, damage: Damage
) -> None:
    path = root / "e0" / "image" / name
    damage(path)
    with Chain(root / "e2" / "image") as chain, pytest.raises(ImageError, match=str(path)):
        chain.region(int(name[6]))


def run(verb: ModuleType, directory: Path) -> int:
    parser = ArgumentParser()
    verb.add_arguments(parser)
    return guard(lambda: verb.run(parser.parse_args([str(directory)])))


def test_fsck_says_what_is_wrong_in_a_sentence_and_ends_with_8(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fsck, root / "e2") == 0
    cut(root / "e1" / "image" / "pages-1.img")
    capsys.readouterr()
    assert run(fsck, root / "e2") == 8
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("tidemark: error: ")
    assert "e1/image/pages-1.img is 8191 bytes long, not 8192" in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize("verb", [fsck, show], ids=["fsck", "show"])
def test_a_directory_that_is_no_dump_is_refused(
    tmp_path: Path, verb: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for path, words in (
        (tmp_path, "is not a dump"),
        (tmp_path / "missing", "is missing"),
        (tmp_path / "file", "cannot be read (Not a directory)"),
        (tmp_path / ("x" * 300), "cannot be read (File name too long)"),
    ):
        assert run(verb, path) == 8
        assert words in capsys.readouterr().err


edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6)


def edit(path: Path, changes: list[tuple[float, int]]) -> bool:
    before = path.read_bytes()
    content = bytearray(before)
    for place, byte in changes:
        content[int(place * (len(content) - 1))] = byte
    path.write_bytes(content)
    return bytes(content) != before


def read_everything(image: Path) -> None:
    with Chain(image) as chain:
        for shmid in chain.regions():
            region = chain.region(shmid)
            region.source.hash(region.present)


@settings(max_examples=60)
@given(epoch=st.sampled_from(EPOCHS), name=st.sampled_from(NAMES), changes=edits)
def test_any_bytes_in_a_dump_of_ours_are_noticed(
    pristine: Path, epoch: str, name: str, changes: list[tuple[float, int]]
) -> None:
    with TemporaryDirectory() as copy:
        root = shutil.copytree(pristine, Path(copy) / "root", symlinks=True)
        path = root / epoch / "image" / name
        if not path.stat().st_size or not edit(path, changes):
            return
        refused(root, name, f"{root}/{epoch}")


@settings(max_examples=100)
@given(epoch=st.sampled_from(EPOCHS), name=st.sampled_from(NAMES[:3]), changes=edits)
def test_any_bytes_in_a_dump_without_manifests_end_in_an_answer_or_a_sentence(
    pristine: Path, epoch: str, name: str, changes: list[tuple[float, int]]
) -> None:
    with TemporaryDirectory() as copy:
        root = shutil.copytree(pristine, Path(copy) / "root", symlinks=True)
        for image in root.glob("*/image"):
            (image / "manifest.json").unlink()
            (image / "inventory.img").write_bytes(bytes.fromhex("16313158 02000000 0802"))
        edit(root / epoch / "image" / name, changes)
        for work in (check_image, read_everything):
            try:
                work(root / "e2" / "image")
            except TidemarkError as error:
                assert str(root) in str(error)  # noqa: PT017 - it need not fail
        assert run(show, root / epoch) in {0, 8}


def test_a_page_that_is_left_to_a_parent_which_lacks_it_is_refused(tmp_path: Path) -> None:
    """The parent has as many pages as are left to it, and not the same."""
    parent, other, child = tmp_path / "other", tmp_path / "parent", tmp_path / "child"
    write(parent, {1: Content({0: 1, 3: 2})})
    write(other, {1: Content({0: 1, 2: 2})})
    write(child, {1: Content({5: 3}, [0, 2])}, other)
    images = [open_images(child)[0], *open_images(parent)]
    with pytest.raises(ImageError, match=r"leaves page 2 to the parent, and .* lacks that page"):
        list(walk_levels(images, 1))
