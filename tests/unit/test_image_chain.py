"""What was written reads back, page by page, over chains of images."""

from __future__ import annotations

import os
import resource
import shutil
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_fixture import (
    SMALL_CHAIN,
    Content,
    forget_peak,
    page_of,
    pages_of,
    peak,
    small_chain,
    write,
)

from tidemark.errors import ImageError
from tidemark.image import chain as chain_module
from tidemark.image.chain import Chain, open_images
from tidemark.image.check import check_image
from tidemark.image.pagemap import read_pagemap
from tidemark.native.library import PAGE_SIZE
from tidemark.proto.criu_pb2 import PagemapEntry, PagemapHead

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LENGTH = 24
Model = dict[int, dict[int, int]]


def read_model(image: Path) -> Model:
    """Return the tags by page and region of what an image reads as; holes must read zero."""
    model: Model = {}
    with Chain(image) as chain:
        for number in chain.regions():
            region = chain.region(number)
            pages = {
                page
                for first, count in region.present.runs()
                for page in range(first, first + count)
            }
            assert all(
                region.source.read(page) == bytes(PAGE_SIZE)
                for page in set(range(region.pages)) - pages
            )
            model[number] = {page: tag_of(region.source.read(page)) for page in pages}
    return model


def tag_of(page: bytes) -> int:
    tag = int.from_bytes(page[:8], "little")
    assert page == page_of(tag)
    return tag


@pytest.fixture(autouse=True, scope="module")
def _no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


def descriptors() -> list[int]:
    return [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]


steps = st.lists(
    st.dictionaries(
        st.integers(0, 3),
        st.lists(st.sampled_from(["hole", "keep", "write"]), min_size=LENGTH, max_size=LENGTH),
        max_size=3,
    ),
    min_size=1,
    max_size=5,
)


def write_steps(root: Path, plan: list[dict[int, list[str]]]) -> list[tuple[Path, Model]]:
    """Write a chain as planned; return each image with the model of what it holds."""
    images: list[tuple[Path, Model]] = []
    before: Model = {}
    tag = 0
    for epoch, regions in enumerate(plan):
        contents: dict[int, Content] = {}
        model: Model = {}
        for number, actions in regions.items():
            old = before.get(number, {})
            kept = [p for p, action in enumerate(actions) if action == "keep" and p in old]
            present = {}
            for page, action in enumerate(actions):
                if action == "write":
                    tag += 1
                    present[page] = tag
            contents[number] = Content(present, kept, LENGTH)
            model[number] = {page: old[page] for page in kept} | present
        target = root / f"e{epoch}" / "image"
        write(target, contents, images[-1][0] if images else None, epoch)
        images.append((target, model))
        before = model
    return images


def as_criu_3_17(image: Path) -> None:
    """Make a dump of ours one that CRIU 3.17 could have written."""
    (image / "manifest.json").unlink()
    (image / "inventory.img").write_bytes(bytes.fromhex("16313158 02000000 0800"))
    for path in image.glob("pagemap-shmem-*.img"):
        pages_id, entries = read_pagemap(path)
        messages = [PagemapHead(pages_id=pages_id).SerializeToString()]
        messages += [
            PagemapEntry(
                vaddr=entry.first_page * PAGE_SIZE,
                compat_nr_pages=entry.count,
                in_parent=entry.kind == "parent",
            ).SerializeToString()
            for entry in entries
        ]
        content = struct.pack("<I", 0x56084025)
        content += b"".join(struct.pack("<I", len(m)) + m for m in messages)
        path.write_bytes(content)


@settings(max_examples=40)
@given(plan=steps)
def test_every_image_of_a_chain_reads_back_as_it_was_meant(
    plan: list[dict[int, list[str]]],
) -> None:
    with TemporaryDirectory() as root:
        images = write_steps(Path(root), plan)
        for image, model in images:
            assert read_model(image) == model
            assert check_image(image).pages == sum(map(len, model.values()))
        for image, _ in images:
            as_criu_3_17(image)
        for image, model in images:
            assert read_model(image) == model
            assert check_image(image).hashed == 0


def test_the_small_chain_of_the_tests_reads_as_it_says(tmp_path: Path) -> None:
    images = small_chain(tmp_path)
    assert read_model(images[2]) == SMALL_CHAIN
    summary = check_image(images[2])
    assert (summary.images, summary.hashed, summary.regions, summary.pages) == (3, 3, 2, 7)
    assert summary.bytes == 11 * PAGE_SIZE


def test_the_small_chain_is_whole_after_a_move(tmp_path: Path) -> None:
    small_chain(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert read_model(tmp_path / "there" / "e2" / "image") == SMALL_CHAIN


def test_only_files_that_hold_some_of_the_pages_are_opened(tmp_path: Path) -> None:
    images = [tmp_path / "e0", tmp_path / "e1", tmp_path / "e2"]
    write(images[0], {1: Content({0: 1, 1: 2})})
    write(images[1], {1: Content({0: 3}, [1])}, images[0])
    write(images[2], {1: Content({0: 4}, [1])}, images[1])
    before = len(descriptors())
    with Chain(images[2]) as chain:
        assert len(descriptors()) == before
        chain.region(1)
        assert len(descriptors()) == before + 2
    assert len(descriptors()) == before


def test_a_chain_of_more_images_than_open_files_reads(tmp_path: Path) -> None:
    length = 48
    write(tmp_path / "0", {1: Content({page: page for page in range(length)}, length=length)})
    for epoch in range(1, length):
        kept = [page for page in range(length) if page != epoch]
        content = Content({epoch: 1000 + epoch}, kept, length)
        write(tmp_path / str(epoch), {1: content}, tmp_path / str(epoch - 1))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(descriptors())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 24, limits[1]))
    try:
        model = read_model(tmp_path / str(length - 1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert model == {1: {0: 0} | {page: 1000 + page for page in range(1, length)}}


def test_a_chain_that_is_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = small_chain(tmp_path)
    monkeypatch.setattr(chain_module, "MAX_DEPTH", 2)
    assert len(open_images(images[1])) == 2
    with pytest.raises(ImageError, match="has 2 parents or more"):
        open_images(images[2])


def link_to(image: Path, parent: str) -> None:
    link = image / "parent"
    link.unlink(missing_ok=True)
    link.symlink_to(parent)


@pytest.fixture
def foreign(tmp_path: Path) -> list[Path]:
    """Return a chain without manifests."""
    images = small_chain(tmp_path)
    for image in images:
        as_criu_3_17(image)
    return images


@pytest.mark.parametrize(
    ("parent", "words"),
    [
        ("../../e2/image", r"e0/image/parent leads back to .*e2/image"),
        ("../../e1/image", r"e0/image/parent leads back to .*e1/image"),
        (".", r"e0/image/parent leads back to .*e0/image"),
        ("parent", r"e0/image/parent leads to no dump: .*symbolic links"),
        ("../../missing", r"e0/image/parent leads to no dump: .*No such file"),
        ("inventory.img", r"e0/image/parent leads to no dump: that is not a directory"),
        ("..", r"e0 is not a dump"),
    ],
)
def test_a_parent_link_that_leads_astray_is_refused(
    foreign: list[Path], parent: str, words: str
) -> None:
    link_to(foreign[0], parent)
    with pytest.raises(ImageError, match=words):
        Chain(foreign[2])


def test_a_link_file_with_any_bytes_is_refused(foreign: list[Path]) -> None:
    for content in (b"", b"\0", b"\xff\xfe", b"x" * 5000, b"../../e1/image\n"):
        (foreign[2] / "parent").unlink()
        (foreign[2] / "parent").write_bytes(content)
        with pytest.raises(ImageError, match="e2/image"):
            Chain(foreign[2])


def test_a_link_that_is_neither_link_nor_directory_is_refused(foreign: list[Path]) -> None:
    (foreign[2] / "parent").unlink()
    os.mkfifo(foreign[2] / "parent")
    with pytest.raises(ImageError, match="neither a link nor a directory"):
        Chain(foreign[2])


def test_a_parent_that_is_a_directory_of_that_name_is_followed(foreign: list[Path]) -> None:
    (foreign[1] / "parent").unlink()
    shutil.move(foreign[0], foreign[1] / "parent")
    assert read_model(foreign[2]) == SMALL_CHAIN


@pytest.mark.parametrize(
    ("flags", "words"), [(1, "leaves page 3 to the parent"), (4, "8192 bytes long, shorter")]
)
def test_an_entry_of_128_tib_takes_no_memory(foreign: list[Path], flags: int, words: str) -> None:
    entry = PagemapEntry(vaddr=0, compat_nr_pages=0, flags=flags, nr_pages=(1 << 47) // PAGE_SIZE)
    message = entry.SerializeToString()
    path = foreign[1] / "pagemap-shmem-1.img"
    path.write_bytes(path.read_bytes()[:10] + struct.pack("<I", len(message)) + message)
    forget_peak()
    before = peak()
    with Chain(foreign[1]) as chain, pytest.raises(ImageError, match=words):
        chain.region(1)
    assert peak() - before < 32 << 20


def test_a_page_cannot_come_from_behind_an_image_that_lacks_its_region(
    foreign: list[Path],
) -> None:
    (foreign[1] / "pagemap-shmem-1.img").unlink()
    with Chain(foreign[2]) as chain, pytest.raises(ImageError, match="leaves page 0 to the parent"):
        chain.region(1)


def test_content_that_changes_while_it_is_opened_is_refused(
    foreign: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(path: Path) -> int:
        os.truncate(path, 0)
        return os.open(path, os.O_RDONLY)

    monkeypatch.setattr(chain_module, "_open_many", late)
    with Chain(foreign[2]) as chain, pytest.raises(ImageError, match="changed while"):
        chain.region(1)


def test_a_region_that_the_image_lacks_is_named(tmp_path: Path) -> None:
    write(tmp_path / "image", {1: Content()})
    with Chain(tmp_path / "image") as chain, pytest.raises(ImageError, match="has no region 9"):
        chain.region(9)


def test_a_region_that_grew_shrank_and_came_back_reads(tmp_path: Path) -> None:
    plan: list[Mapping[int, Content]] = [
        {1: Content({7: 1}, length=8)},
        {1: Content({15: 2}, [7], length=16)},
        {1: Content({3: 3}, [7], length=8)},
        {2: Content({0: 4})},
        {1: Content({0: 5}, length=4), 2: Content({}, [0])},
    ]
    parent = None
    for epoch, regions in enumerate(plan):
        write(tmp_path / str(epoch), regions, parent, epoch)
        parent = tmp_path / str(epoch)
    assert read_model(tmp_path / "1") == {1: {7: 1, 15: 2}}
    assert read_model(tmp_path / "2") == {1: {7: 1, 3: 3}}
    assert read_model(tmp_path / "4") == {1: {0: 5}, 2: {0: 4}}
    with Chain(tmp_path / "2") as chain:
        assert chain.region(1).pages == 8
        assert chain.region(1).present == pages_of([3, 7], 8)
