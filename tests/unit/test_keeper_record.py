"""keeper.json tells where to connect to and which process to look at: only what can be."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tidemark.checkpoint.keepers import all_keepers
from tidemark.cli import main
from tidemark.errors import TidemarkError
from tidemark.keeper.record import read_keeper

if TYPE_CHECKING:
    from pathlib import Path

RECORD: dict[str, Any] = {
    "schema": 1,
    "pid": 17,
    "start_time": 5,
    "owner": None,
    "owner_start_time": None,
    "node": "here",
    "batch_job": None,
    "socket": "keeper.sock",
    "life": "9f0c",
    "workload": "grid",
    "root": 18,
    "tracker": "uffd-wp",
    "tracker_reason": "it can",
}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    directory = tmp_path / "tidemark" / "grid"
    directory.mkdir(parents=True, mode=0o700)
    return directory / "keeper.json"


def test_what_a_keeper_says_of_itself_is_read_as_it_was_written(path: Path) -> None:
    path.write_text(json.dumps(RECORD))
    assert {"schema": 1, **read_keeper(path)} == RECORD


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"pid": 0},
        {"pid": -1},
        {"pid": 1 << 40},
        {"pid": "17"},
        {"root": True},
        {"owner": []},
        {"start_time": "now"},
        {"socket": "../other/keeper.sock"},
        {"socket": ""},
        {"socket": "x\0y"},
        {"workload": None},
        {"life": "x" * 1000},
    ],
)
def test_what_no_keeper_says_is_refused(path: Path, change: dict[str, object]) -> None:
    path.write_text(json.dumps(RECORD | change))
    with pytest.raises(TidemarkError, match=f"keeper.json (holds|says) `{next(iter(change))}`"):
        read_keeper(path)
    assert all_keepers() == []


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"schema": 1}'])
@pytest.mark.parametrize("words", [["status"], ["status", "grid"], ["checkpoint"], ["release"]])
def test_nonsense_in_a_keeper_json_is_a_sentence(
    path: Path, content: bytes, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_bytes(content)
    code = main(words)
    said = capsys.readouterr()
    assert (code, said.out) == (0, "nothing is kept\n") or "tidemark: error: " in said.err


def test_a_pipe_for_a_keeper_json_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(TidemarkError, match="is not a file"):
        read_keeper(path)
    assert all_keepers() == []
