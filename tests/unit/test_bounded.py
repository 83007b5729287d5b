"""Reading that is bounded: what is refused, and for what memory is never taken."""

from __future__ import annotations

import json
import os
import resource
import socket
from multiprocessing import get_context
from pathlib import Path

import pytest

from tidemark.bounded import DecodingError, Limits, open_regular, parse_json, read_regular
from tidemark.fields import FieldError, Fields

LIMITS = Limits(bytes=1 << 20, depth=4, values=1000)
GREAT = Limits(bytes=64 << 20, depth=16, values=1000)


@pytest.mark.parametrize(
    "text",
    ['{"a": [1, {"b": "x"}]}', "[[[[]]]]", '"[[[[[[[["', '["\\"[[[[[[", "\\\\"]', "[1]", "7"],
)
def test_what_is_within_the_limits_is_what_json_says(text: str) -> None:
    assert parse_json(text.encode(), LIMITS) == json.loads(text)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not JSON"),
        (b"{", "its brackets differ|is not JSON"),
        (b"\xff", "is not UTF-8"),
        (b'{"a": NaN}', "the number NaN"),
        (b"[-Infinity]", "the number -Infinity"),
        (b"[" * 5 + b"]" * 5, "nested more than 4 deep"),
        (b"[" * 200_000 + b"]" * 200_000, "more than 1000 values"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "more than 1000 values"),
        (b"[" + b"1," * 1000 + b"1]", "more than 1000 values"),
        (b"[" + b"[]," * 600 + b"[]]", "more than 1000 values"),
        (b"[" + b"9" * 5000 + b"]", "is not JSON: Exceeds the limit"),
        (b" " * ((1 << 20) + 1), "is 1048577 bytes long"),
    ],
)
def test_what_is_beyond_the_limits_is_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(DecodingError, match=sentence):
        parse_json(content, LIMITS)


def _measure(content: bytes, pipe: object) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DecodingError):
        parse_json(content, GREAT)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)  # type: ignore[attr-defined]


@pytest.mark.parametrize("piece", [b"{},", b"[],", b'"\\"\\"",', b'"\\', b"1,", b'"",'])
def test_refusing_takes_little_more_memory_than_the_text_itself(piece: bytes) -> None:
    size = 32 << 20
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(
        target=_measure, args=(b"[" + piece * (size // len(piece)), theirs)
    )
    process.start()
    kilobytes = ours.recv()
    process.join()
    assert kilobytes * 1024 < 8 * size  # as objects it would be 20 times as much, and more


def test_a_sparse_file_is_read_no_further_than_its_first_hole(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.write_bytes(b"{" + b" " * 5000)
    os.truncate(path, 1 << 40)
    with pytest.raises(DecodingError, match="holds a zero byte, at"):
        read_regular(path, 1 << 41)
    with pytest.raises(DecodingError, match=r"1099511627776 bytes long, and 1048576 are believed"):
        read_regular(path, 1 << 20)


def _make(kind: str, path: Path) -> None:
    match kind:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
        case device:
            path.symlink_to(device)


@pytest.mark.parametrize(
    "kind", ["directory", "pipe", "socket", "/dev/zero", "/dev/null", "/dev/tty", "/dev/full"]
)
def test_only_files_are_opened(kind: str, tmp_path: Path) -> None:
    _make(kind, tmp_path / "x")
    with pytest.raises(DecodingError, match="is not a file"):
        open_regular(tmp_path / "x")


def test_a_file_of_proc_is_read_for_as_many_bytes_as_it_says_it_has() -> None:
    assert read_regular(Path("/proc/kmsg"), 1 << 20) == b""
    assert read_regular(Path("/proc/self/status"), 1 << 20) == b""


def test_a_link_that_leads_to_itself_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("x")
    with pytest.raises(OSError, match="symbolic links"):
        read_regular(tmp_path / "x", 1)


@pytest.mark.parametrize(
    "value", [None, True, -1, 1 << 64, 1.5, "1", [1], {"a": 1}, float("inf"), float("nan")]
)
def test_what_is_no_whole_number_within_its_bound_is_refused(value: object) -> None:
    with pytest.raises(FieldError, match="holds `n` that is not"):
        Fields.of({"n": value}).whole("n", 100)
    with pytest.raises(FieldError):
        Fields.of({"n": [value]}).list_of_wholes("n", 100)


@pytest.mark.parametrize("value", [None, [], "x", 5])
def test_what_is_no_object_has_no_fields(value: object) -> None:
    with pytest.raises(FieldError, match="something else than an object"):
        Fields.of(value)


def test_a_value_of_any_depth_can_be_told_of() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(FieldError, match="says `a` is a list, not 5"):
        Fields.of({"a": deep}).expect("a", 5)
    assert Fields.of({"a": [deep, 7]}).texts("a") == ("a list", "7")
