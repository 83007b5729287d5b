"""A manifest that is whole but says what cannot be is refused."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from image_fixture import Content, write

from tidemark.cli import main
from tidemark.errors import ImageError
from tidemark.image.chain import Chain
from tidemark.image.check import check_image
from tidemark.image.manifest import (
    FileRecord,
    Manifest,
    dump_manifest,
    file_record,
)
from tidemark.image.manifest_reader import load_manifest
from tidemark.image.squash import squash
from tidemark.unsaved import Unsaved

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "image", {1: Content({0: 1, 3: 2}), 2: Content({3: 3})})
    return tmp_path / "image" / "manifest.json"


def resealed(value: dict[str, Any]) -> bytes:
    """Return a manifest with the checksum that belongs to it."""
    value = {key: value[key] for key in value if key != "checksum"}
    body = json.dumps(value, sort_keys=True, indent=1) + "\n"
    checksum = hashlib.sha256(body.encode()).hexdigest()
    return (json.dumps({"checksum": checksum} | value, sort_keys=True, indent=1) + "\n").encode()


def test_a_manifest_can_be_resealed_by_this_test(path: Path) -> None:
    assert resealed(json.loads(path.read_text())) == path.read_bytes()


def first(value: dict[str, Any]) -> dict[str, Any]:
    region: dict[str, Any] = value["regions"][0]
    return region


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value.update(schema=2), "says `schema` is 2, not 1"),
        (lambda value: value.pop("epoch"), "lacks `epoch`"),
        (lambda value: value.update(epoch=-1), "`epoch` that is not a number from 0 on"),
        (lambda value: value.update(epoch=True), "`epoch` that is not a number"),
        (lambda value: value.update(workload=None), "`workload` that is not a text"),
        (lambda value: value.update(parent=[]), "`parent` that is not an object"),
        (lambda value: value.update(parent={}), "lacks `parent.path`"),
        (lambda value: value.update(regions=[3]), "`regions` that is not a list of objects"),
        (lambda value: value["regions"].reverse(), "has its regions out of order"),
        (lambda value: value["regions"].append(first(value)), "has its regions out of order"),
        (lambda value: value["regions"].pop(), "has `files` that are not those of its regions"),
        (lambda value: value["files"].pop("inventory.img"), "has `files` that are not those"),
        (lambda value: value["files"].update({"../x": {"bytes": 1, "xxh3": ""}}), "has `files`"),
        (
            lambda value: value["files"].update({"inventory.img": {}}),
            "lacks `files.",
        ),
        (lambda value: first(value).update(pages=1), "region 1 has more pages than it is long"),
        (lambda value: first(value).update(in_parent=1), "region 1 has pages in a parent, and"),
        (lambda value: first(value).update(present=3), "region 1 has not one hash for each page"),
        (lambda value: first(value).update(page_hashes=""), "region 1 has not one hash for each"),
        (
            lambda value: first(value).update(page_hashes="*"),
            "that is not base64",
        ),
        (lambda value: first(value).update(shmid=1 << 32), "`regions[0].shmid` that is not"),
        (lambda value: first(value).update(pages=1 << 36), "`regions[0].pages` that is not"),
        (lambda value: first(value).update(present=1 << 70), "`regions[0].present` that is not"),
        (lambda value: first(value).update(vouched=1e308), "`regions[0].vouched` that is not"),
        (lambda value: first(value).update(kind="x" * 300), "`regions[0].kind` that is not"),
        (lambda value: value.update(page_size=12345), "that is not a size of pages"),
        (
            lambda value: value.update(more=[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]),
            "nested more than 16",
        ),
        (lambda value: first(value).update(full=0), "`regions[0].full` that is not true or false"),
        (
            lambda value: first(value).update(suspects={"x": "y"}),
            "`regions[0].suspects.x` that",
        ),
        (
            lambda value: value["files"]["pages-1.img"].update(bytes=4096),
            "pages-1.img would not hold the pages of its region",
        ),
        (lambda value: value.update(page_size=16384), "pages-1.img would not hold the pages"),
    ],
)
def test_a_value_that_cannot_be_is_refused(
    path: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_bytes(resealed(value))
    with pytest.raises(ImageError) as caught:
        load_manifest(path)
    assert str(caught.value).startswith(f"{path} ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "body", ["[" * 100_000, "{}", '"x"', "{\n", "{\n1e999}", "1" * 5000, "\ud800"]
)
def test_what_is_no_manifest_at_all_is_refused(path: Path, body: str) -> None:
    rest = body.encode("utf-8", "surrogatepass")
    checksum = hashlib.sha256(b"{" + rest).hexdigest()
    path.write_bytes(b'{\n "checksum": "' + checksum.encode() + b'",' + rest)
    with pytest.raises(ImageError, match="is not a manifest: "):
        load_manifest(path)


def test_a_manifest_is_no_longer_than_the_pages_beside_it_justify(path: Path) -> None:
    content = path.read_bytes()
    os.truncate(path, 100 << 20)
    with pytest.raises(ImageError, match=r"is 104857600 bytes long, and 671\d+ are believed"):
        load_manifest(path)
    path.with_name("pages-1.img").write_bytes(b"")
    os.truncate(path.with_name("pages-1.img"), 64 << 30)
    with pytest.raises(ImageError, match=f"holds a zero byte, at {len(content)}; copy"):
        load_manifest(path)


def test_an_image_that_records_a_pages_file_by_its_bytes_is_read_as_before(path: Path) -> None:
    value = json.loads(path.read_text())
    value["files"]["pages-1.img"]["xxh3"] = file_record(path.with_name("pages-1.img")).xxh3
    path.write_bytes(resealed(value))
    check_image(path.parent)


UNSAVED = (
    Unsaved("device", "/dev/mem", 4096, (0,)),
    Unsaved("file", "/var/lib/data", 8192, (0, 2)),
)


def test_what_is_not_saved_is_read_as_it_was_written(path: Path) -> None:
    manifest, _ = load_manifest(path)
    path.write_bytes(dump_manifest(replace(manifest, unsaved=UNSAVED)))
    assert load_manifest(path)[0].unsaved == UNSAVED


def test_a_manifest_that_does_not_tell_what_is_not_saved_is_read_as_before(path: Path) -> None:
    assert "unsaved" not in json.loads(path.read_text())
    assert load_manifest(path)[0].unsaved == ()


@pytest.mark.parametrize(
    "wrong",
    [
        3,
        [3],
        [{"kind": "file", "name": "/x", "bytes": -1, "processes": []}],
        [{"kind": "file", "name": "/x", "bytes": 1, "processes": ["0"]}],
        [{"kind": "file", "bytes": 1, "processes": [0]}],
    ],
)
def test_nonsense_about_what_is_not_saved_is_refused(path: Path, wrong: object) -> None:
    path.write_bytes(resealed(json.loads(path.read_text()) | {"unsaved": wrong}))
    with pytest.raises(ImageError, match=r"lacks `|that is not "):
        load_manifest(path)


def test_show_lists_what_is_not_saved(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, _ = load_manifest(path)
    path.write_bytes(dump_manifest(replace(manifest, unsaved=UNSAVED)))
    assert main(["show", str(path.parent)]) == 0
    *_, summary, device, file = capsys.readouterr().out.splitlines()
    assert summary == "not saved: 1 device, 1 file"
    assert device == "  device /dev/mem (4096 bytes, mapped by process 0)"
    assert file == "  file /var/lib/data (8192 bytes, mapped by processes 0, 2)"
    assert main(["show", "--json", str(path.parent)]) == 0
    assert json.loads(capsys.readouterr().out)["unsaved"] == [one.to_json() for one in UNSAVED]


def test_a_squashed_image_still_tells_what_is_not_saved(tmp_path: Path) -> None:
    write(tmp_path / "e0", {1: Content({0: 1})})
    write(tmp_path / "e1", {1: Content({1: 2}, [0])}, tmp_path / "e0")
    path = tmp_path / "e1" / "manifest.json"
    manifest, _ = load_manifest(path)
    path.write_bytes(dump_manifest(replace(manifest, unsaved=UNSAVED)))
    squash(path.parent, tmp_path / "squashed")
    assert load_manifest(path)[0].unsaved == UNSAVED


def of_large_pages(manifest: Manifest) -> Manifest:
    files = dict(manifest.files)
    for region in manifest.regions:
        name = f"pages-{region.shmid}.img"
        files[name] = FileRecord(region.present * 16384, files[name].xxh3)
    return replace(manifest, page_size=16384, files=files)


def test_an_image_of_a_machine_with_other_pages_is_refused(path: Path) -> None:
    manifest, _ = load_manifest(path)
    path.write_bytes(dump_manifest(of_large_pages(manifest)))
    with pytest.raises(ImageError, match="pages of 16384 bytes, and this machine of 4096"):
        Chain(path.parent)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pages": 3}, "pagemap-shmem-1.img lists page 3 of a region of 3 pages"),
        ({"shmid": 2}, "pagemap-shmem-2.img lists other pages than manifest.json"),
    ],
)
def test_a_page_map_that_says_other_than_the_manifest_is_refused(
    path: Path, changes: dict[str, int], words: str
) -> None:
    manifest, _ = load_manifest(path)
    region = replace(manifest.regions[0], **changes)  # type: ignore[arg-type]
    names = {"inventory.img", f"pagemap-shmem-{region.shmid}.img", f"pages-{region.shmid}.img"}
    files = {name: manifest.files[name.replace("-2", "-1")] for name in names}
    pagemap = f"pagemap-shmem-{region.shmid}.img"
    files[pagemap] = file_record(path.with_name(pagemap))
    path.write_bytes(dump_manifest(replace(manifest, regions=(region,), files=files)))
    with Chain(path.parent) as chain, pytest.raises(ImageError, match=words):
        chain.region(region.shmid)


def test_a_page_map_that_names_the_content_of_another_region_is_refused(path: Path) -> None:
    other = path.with_name("pagemap-shmem-2.img")
    content = bytearray(other.read_bytes())
    assert content[12:14] == b"\x08\x02"
    content[13] = 1
    other.write_bytes(content)
    manifest, _ = load_manifest(path)
    files = {**manifest.files, other.name: file_record(other)}
    path.write_bytes(dump_manifest(replace(manifest, files=files)))
    with (
        Chain(path.parent) as chain,
        pytest.raises(
            ImageError, match=r"pagemap-shmem-2.img names pages-1.img instead of its own"
        ),
    ):
        chain.region(2)
