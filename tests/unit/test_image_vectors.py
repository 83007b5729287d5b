"""Images that CRIU itself wrote read as what it dumped."""

from __future__ import annotations

import hashlib
import json
import shutil
from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tidemark.cli import fsck, show
from tidemark.errors import ImageError
from tidemark.image.chain import Chain, ChainRegion
from tidemark.image.check import check_image
from tidemark.native.library import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

DATA = Path(__file__).parents[1] / "data" / "criu"
FULL = sorted(path.parent for path in DATA.glob("criu-4.2/*/case.json"))
INCREMENTAL = sorted(path.parent for path in DATA.glob("criu-3.17-incremental/*/expected.json"))
DUMPS = sorted(path.parent for path in DATA.glob("criu-*/**/inventory.img"))
WORDS = PAGE_SIZE // 8
ZERO = bytes(PAGE_SIZE)


def name_of(path: Path) -> str:
    return str(path.relative_to(DATA))


def called(verb: ModuleType, *words: str) -> int:
    parser = ArgumentParser()
    verb.add_arguments(parser)
    code: int = verb.run(parser.parse_args(words))
    return code


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert called(show, "--json", *words) == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def newest(case: Path) -> Path:
    directories = json.loads((case / "expected.json").read_text())["dirs_oldest_first"]
    return case / str(directories[-1])


def packed(words: Iterator[int]) -> bytes:
    return b"".join(word.to_bytes(8, "little") for word in words)


def pattern(tag: int, page: int) -> bytes:
    """Return the content that case.json's `pattern` describes."""
    return packed(tag << 56 | page << 16 | word for word in range(WORDS))


def generation(page: int, number: int) -> bytes:
    """Return the content that expected.json's `content` describes."""
    if number == 0:
        return ZERO
    mask = (1 << 64) - 1
    seed = page * 0x9E3779B97F4A7C15 & mask ^ number << 56
    return packed(seed ^ word * 0x100000001B3 & mask for word in range(WORDS))


def read_all(region: ChainRegion, pages: int) -> Iterator[bytes]:
    for page in range(0, pages, 256):
        yield region.source.read(page, min(256, pages - page))


def pages_in(runs: list[list[int]]) -> list[int]:
    """Return the pages of case.json's [first, last] pairs."""
    return [page for first, last in runs for page in range(first, last + 1)]


@pytest.mark.parametrize("case", FULL, ids=name_of)
def test_a_full_dump_by_criu_reads_as_its_case_says(case: Path) -> None:
    regions = json.loads((case / "case.json").read_text())["regions"]
    with Chain(case) as chain:
        assert sorted(chain.regions()) == sorted(region["shmid"] for region in regions)
        for expected in regions:
            region = chain.region(expected["shmid"])
            written = pages_in(expected["pattern_pages"])
            present = pages_in([[a, a + n - 1] for a, n in region.present.runs()])
            assert present == sorted(written + pages_in(expected["zero_allocated_pages"]))
            assert all(region.source.read(i) == pattern(expected["tag"], i) for i in written)
            digest = hashlib.sha256()
            for piece in read_all(region, expected["size_pages"]):
                digest.update(piece)
            assert digest.hexdigest() == expected["sha256_of_whole_region"]


def test_stock_and_classic_dumps_of_one_case_have_the_same_content() -> None:
    for classic in DATA.glob("criu-4.2/*-classic"):
        stock = classic.with_name(classic.name.replace("classic", "stock"))
        with Chain(classic) as one, Chain(stock) as other:
            assert one.regions() == other.regions()
            for shmid in one.regions():
                assert one.region(shmid).present == other.region(shmid).present
                pages = one.region(shmid).pages
                assert list(read_all(one.region(shmid), pages)) == list(
                    read_all(other.region(shmid), pages)
                )


@pytest.mark.parametrize("case", INCREMENTAL, ids=name_of)
def test_a_chain_by_criu_reads_as_what_criu_restores_from_it(case: Path) -> None:
    expected = json.loads((case / "expected.json").read_text())
    restored = expected["criu_restore"]
    with Chain(newest(case)) as chain:
        region = chain.region(expected["main_shmid"])
        for page, number in enumerate(restored["generation"]):
            content = region.source.read(page)
            assert content == generation(page, number)
            assert hashlib.sha256(content).hexdigest() == restored["sha256"][page]
            assert (page in region.present) == (number != 0)


def test_a_region_that_is_younger_than_the_parent_reads_from_the_dump_alone() -> None:
    case = DATA / "criu-3.17-incremental" / "track-new-region"
    other = json.loads((case / "expected.json").read_text())["other_regions"]["75"]
    with Chain(newest(case)) as chain:
        assert chain.regions() == (71, 75)
        region = chain.region(75)
        assert region.pages == other["pages"]
        for page, digest in enumerate(other["sha256"]):
            assert hashlib.sha256(region.source.read(page)).hexdigest() == digest


@pytest.mark.parametrize("case", INCREMENTAL, ids=name_of)
def test_show_prints_the_runs_of_each_dump_in_a_chain(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pagemaps = json.loads((case / "expected.json").read_text())["pagemaps"]
    for directory, regions in pagemaps.items():
        assert shown(capsys, str(case / directory))["regions"] == [
            {
                "shmid": int(shmid),
                "pages": max(entry["vaddr"] // PAGE_SIZE + entry["nr_pages"] for entry in entries),
                "runs": [
                    [
                        entry["vaddr"] // PAGE_SIZE,
                        entry["nr_pages"],
                        "parent" if entry["flags"] & 1 else "present",
                    ]
                    for entry in entries
                ],
            }
            for shmid, entries in sorted(
                ((shmid, region["entries"]) for shmid, region in regions.items()),
                key=lambda item: int(item[0]),
            )
        ]


@pytest.mark.parametrize("case", FULL, ids=name_of)
def test_show_joins_the_adjacent_runs_of_a_full_dump(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    observed = json.loads((case / "case.json").read_text())["observed"]
    runs = {region["shmid"]: region["runs"] for region in shown(capsys, str(case))["regions"]}
    assert list(runs) == sorted(region["shmid"] for region in observed)
    for region in observed:
        expected = [[first, last - first + 1, "present"] for first, last in region["image_pages"]]
        assert runs[region["shmid"]] == expected


@pytest.mark.parametrize("dump", DUMPS, ids=name_of)
def test_criu_s_own_dumps_are_sound(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(fsck, str(dump)) == 0
    assert "without a manifest" in capsys.readouterr().out
    assert called(show, "--chain", str(dump)) == 0


@pytest.mark.parametrize("case", INCREMENTAL, ids=name_of)
def test_a_parent_link_that_a_copy_made_a_file_is_understood(case: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(case, tmp_path / "copy", symlinks=True)
    for link in copy.glob("*/parent"):
        text = link.readlink()
        link.unlink()
        link.write_text(str(text))
    assert check_image(newest(copy)) == check_image(newest(case))


def test_the_parents_in_the_vectors_are_links() -> None:
    assert all(path.is_symlink() for path in DATA.glob("criu-3.17-incremental/*/*/parent"))


def test_a_chain_by_criu_without_its_parent_is_refused(tmp_path: Path) -> None:
    case = shutil.copytree(
        DATA / "criu-3.17-incremental" / "track-chain3", tmp_path / "copy", symlinks=True
    )
    shutil.rmtree(case / "1")
    with pytest.raises(ImageError, match=r"2/parent leads to no dump.*put the parent there"):
        Chain(case / "3")


def test_a_dump_whose_link_is_lost_is_refused_by_region_and_page(tmp_path: Path) -> None:
    case = shutil.copytree(
        DATA / "criu-3.17-incremental" / "track-chain3", tmp_path / "copy", symlinks=True
    )
    (case / "3" / "parent").unlink()
    with (
        Chain(case / "3") as chain,
        pytest.raises(ImageError, match=r"pagemap-shmem-1067.img leaves page 0 to a parent"),
    ):
        chain.region(1067)


def test_a_parent_by_criu_s_page_server_needs_no_inventory(tmp_path: Path) -> None:
    case = shutil.copytree(
        DATA / "criu-3.17-incremental" / "track-chain3", tmp_path / "copy", symlinks=True
    )
    (case / "1" / "inventory.img").unlink()
    assert check_image(case / "3").images == 3
    (case / "3" / "inventory.img").unlink()
    with pytest.raises(ImageError, match=r"3/inventory.img is missing"):
        check_image(case / "3")
