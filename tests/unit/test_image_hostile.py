"""Files of an image that are none, endless, sparse, or lie: one sentence, soon, and no memory."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from image_fixture import Content, forget_peak, peak, write

from tidemark.cli import main
from tidemark.errors import ImageError
from tidemark.image.framing import PAGEMAP, frame, framed
from tidemark.image.manifest import dump_manifest
from tidemark.proto.criu_pb2 import PagemapEntry, PagemapHead
from tidemark.unsaved import Unsaved

if TYPE_CHECKING:
    from pathlib import Path

FILES = ["manifest.json", "inventory.img", "pagemap-shmem-1.img", "pages-1.img"]
KINDS = ["pipe", "directory", "socket", "/dev/zero", "/proc/kmsg", "sparse", "empty", "cut"]
VERBS = ["fsck", "show --chain", "restore --to"]
_MOST_MEMORY = 256 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write(tmp_path / "e0" / "image", {1: Content({0: 1, 1: 2})})
    write(tmp_path / "e1" / "image", {1: Content({3: 1}, [0])}, tmp_path / "e0" / "image", epoch=1)
    return tmp_path / "e1" / "image"


def _spoil(path: Path, kind: str) -> None:
    content = path.read_bytes()
    path.unlink()
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
        case "sparse":
            path.write_bytes(content)
            os.truncate(path, 1 << 40)
        case "empty" | "cut":
            path.write_bytes(content[: len(content) // 2 if kind == "cut" else 0])
        case device:
            path.symlink_to(device)


def _says(words: str, image: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    verb, *options = words.split()
    to = [str(image.parent / "out")] if "--to" in options else []
    forget_peak()
    before = peak()
    code = main([verb, str(image), *options, *to])
    assert peak() - before < _MOST_MEMORY
    return code, capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("words", VERBS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [f"e{epoch}/image/{name}" for epoch in (0, 1) for name in FILES])
def test_a_file_that_is_none_is_told_in_a_sentence(
    name: str,
    kind: str,
    words: str,
    image: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _spoil(image.parent.parent / name, kind)
    code, said = _says(words, image, capsys)
    if words == "show --chain" and name.endswith("inventory.img"):
        assert code == 0  # what it holds is not shown
        return
    assert code == ImageError.exit_code
    assert len(said) == 1
    assert said[0].startswith("tidemark: error: ")
    assert not (image.parent / "out").exists()


@pytest.mark.parametrize("words", [*VERBS, "show"])
def test_a_page_map_that_says_other_than_the_manifest_is_told_by_each_verb(
    words: str, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = image / "pagemap-shmem-1.img"
    path.write_bytes(path.read_bytes().replace(b"\x20\x04", b"\x20\x01"))  # present, not in parent
    code, said = _says(words, image, capsys)
    assert code == ImageError.exit_code
    assert len(said) == 1


def _criu(directory: Path, pages: int, size: int) -> Path:
    """Write a dump of CRIU's form: one entry of so many pages, in a sparse file."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    entry = PagemapEntry(vaddr=0, nr_pages=pages, compat_nr_pages=pages & 0xFFFF_FFFF, flags=4)
    (directory / "pagemap-shmem-1.img").write_bytes(
        frame(PAGEMAP)
        + framed(PagemapHead(pages_id=1).SerializeToString())
        + framed(entry.SerializeToString())
    )
    with (directory / "pages-1.img").open("wb") as file:
        file.truncate(size)
    return directory


@pytest.mark.parametrize("words", VERBS)
@pytest.mark.parametrize("pages", [1 << 31, 1 << 34, (1 << 35) + 1, (1 << 52) - 1, (1 << 64) - 1])
def test_pages_that_no_image_can_hold_are_refused(
    pages: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = min(pages * 4096, (1 << 44) - 4096)  # as long as ext4 has files
    code, said = _says(words, _criu(tmp_path / "criu", pages, size), capsys)
    assert code == ImageError.exit_code
    assert len(said) == 1


@pytest.mark.parametrize("length", [0, 1, 1 << 16, (1 << 32) - 1])
def test_messages_without_an_end_are_refused(
    length: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = _criu(tmp_path / "criu", 1, 4096)
    path = directory / "pagemap-shmem-1.img"
    with path.open("ab") as file:
        file.write(length.to_bytes(4, "little"))
        file.truncate(1 << 40)
    for words in VERBS:
        code, said = _says(words, directory, capsys)
        assert code == ImageError.exit_code
        assert len(said) == 1


def test_an_inventory_without_an_end_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = _criu(tmp_path / "criu", 1, 4096)
    (directory / "inventory.img").write_bytes(b"\x16\x31\x31\x58")
    os.truncate(directory / "inventory.img", 1 << 40)
    for words in VERBS:
        code, said = _says(words, directory, capsys)
        assert code == ImageError.exit_code
        assert len(said) == 1


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\ud800", "\u202e"])
def test_what_a_program_calls_itself_does_nothing_to_a_terminal(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write(tmp_path / "image", {1: Content({0: 1})})
    named = replace(manifest, workload=text, unsaved=(Unsaved("file", text, 1, (0,)),))
    (tmp_path / "image" / "manifest.json").write_bytes(dump_manifest(named))
    assert main(["show", str(tmp_path / "image")]) == 0
    shown = capsys.readouterr().out
    assert all(line.isprintable() for line in shown.splitlines())
    assert len(shown.splitlines()) == 6
