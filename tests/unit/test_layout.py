"""A layout asks for processes and mappings: for none that a dump cannot have had."""

from __future__ import annotations

import io
import json
import os
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_fixture import Content, write

from tidemark.cli import main
from tidemark.errors import ImageError
from tidemark.restore.layout import LaidMapping, read_layout
from tidemark.restore.sharing import pairs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_START = 0x7F00_0000_0000


def _layout() -> dict[str, Any]:
    mapping = {"process": 0, "region": 1, "start": _START, "page": 0, "count": 16, "protection": 3}
    return {
        "schema": 1,
        "processes": [{"number": 0, "parent": None, "command": "python3"}],
        "regions": [{"number": 1, "kind": "anonymous", "name": "/dev/zero", "pages": 16}],
        "mappings": [mapping, mapping | {"start": _START + 0x10000}],
    }


@pytest.fixture
def epoch(tmp_path: Path) -> Path:
    write(tmp_path / "e0" / "image", {1: Content({0: 1, 3: 2})})
    (tmp_path / "e0" / "layout.json").write_text(json.dumps(_layout()))
    return tmp_path / "e0"


def first(value: dict[str, Any]) -> dict[str, Any]:
    mapping: dict[str, Any] = value["mappings"][0]
    return mapping


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "address 0": (lambda v: first(v).update(start=0), "which no process can have"),
    "the last page of all": (lambda v: first(v).update(start=(1 << 64) - 4096), "can be"),
    "an address of the kernel": (lambda v: first(v).update(start=0xFFFF_8000_0000_0000), "can be"),
    "no canonical address": (lambda v: first(v).update(start=0x8000_0000_0000), "can be"),
    "the last page of a process": (lambda v: first(v).update(start=0x7FFF_FFFF_F000), "no process"),
    "within a page": (lambda v: first(v).update(start=_START + 1), "which no process can have"),
    "no page": (lambda v: first(v).update(count=0), "which no process can have"),
    "all pages": (lambda v: first(v).update(count=1 << 35), "which no process can have"),
    "pages behind all": (lambda v: first(v).update(page=1 << 35), "that no region can have"),
    "code that can be written": (lambda v: first(v).update(protection=7), "can be written"),
    "a protection of no kind": (lambda v: first(v).update(protection=8), "protection"),
    "two at one address": (lambda v: first(v).update(start=_START + 0x1000), "two mappings"),
    "a process twice": (lambda v: v["processes"].append(v["processes"][0]), "twice"),
    "a region twice": (lambda v: v["regions"].append(v["regions"][0]), "twice"),
    "a process of none": (lambda v: first(v).update(process=1), "no listed process or region"),
    "a region of none": (lambda v: first(v).update(region=7), "no listed process or region"),
    "another schema": (lambda v: v.update(schema=2), "says `schema` is 2, not 1"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_layout_that_cannot_be_is_refused(
    what: str, epoch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words = WRONG[what]
    value = _layout()
    change(value)
    (epoch / "layout.json").write_text(json.dumps(value))
    assert main(["restore", str(epoch), "--tree"]) == ImageError.exit_code
    said = capsys.readouterr().err
    assert said.startswith(f"tidemark: error: {epoch / 'layout.json'} ")
    assert words in said


def test_a_run_restores_code_that_can_be_written(epoch: Path) -> None:
    value = _layout()
    first(value)["protection"] = 7
    (epoch / "layout.json").write_text(json.dumps(value))
    assert read_layout(epoch / "layout.json", own=True).mappings[0].protection == 7


def test_a_region_is_as_long_as_the_image_says(
    epoch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = _layout()
    value["regions"][0]["pages"] = 1 << 34
    (epoch / "layout.json").write_text(json.dumps(value))
    assert main(["restore", str(epoch), "--tree"]) == ImageError.exit_code
    assert "has 16 pages, and 17179869184 in the layout" in capsys.readouterr().err


def test_many_processes_are_told_of_before_they_are_started(
    epoch: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    value = _layout()
    value["processes"] = [{"number": number} for number in range(300)]
    (epoch / "layout.json").write_text(json.dumps(value))
    assert main(["restore", str(epoch), "--tree"]) == 1
    said = capsys.readouterr().err
    assert "asks for 300 processes; if that is right, restore with --processes 300" in said
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["restore", str(epoch), "--tree", "--processes", "300"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 301


def test_a_layout_in_a_pipe_is_not_waited_for(
    epoch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (epoch / "layout.json").unlink()
    os.mkfifo(epoch / "layout.json")
    assert main(["restore", str(epoch), "--tree"]) == 1
    assert "layout.json is missing" in capsys.readouterr().err
    with pytest.raises(ImageError, match="is not a file"):
        read_layout(epoch / "layout.json")


_MAPPINGS = st.lists(
    st.builds(
        LaidMapping,
        process=st.integers(0, 2),
        region=st.just(1),
        start=st.just(_START),
        page=st.integers(0, 12),
        count=st.integers(1, 8),
        protection=st.sampled_from([0, 1, 2, 3]),
    ),
    max_size=8,
)


@given(_MAPPINGS, st.integers(0, 14))
def test_each_mapping_meets_a_writer_of_another_process_where_there_is_one(
    mappings: list[LaidMapping], pages: int
) -> None:
    found = list(pairs(mappings, pages))
    for writer, reader, page in found:
        assert writer.process != reader.process
        for mapping in (writer, reader):
            assert mapping.page <= page < min(mapping.page + mapping.count, pages)
        assert (writer.protection & 3, reader.protection & 1) == (3, 1)
    met = {
        id(reader)
        for writer, reader in product(mappings, mappings)
        if writer.process != reader.process
        and (writer.protection & 3, reader.protection & 1) == (3, 1)
        and max(writer.page, reader.page)
        < min(writer.page + writer.count, reader.page + reader.count, pages)
    }
    assert {id(reader) for _, reader, _ in found} == met
