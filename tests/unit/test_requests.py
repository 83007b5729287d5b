"""What a keeper understands of what it is told, and what it answers to all else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.errors import KeeperError
from tidemark.keeper import requests
from tidemark.keeper.encoding import pieces

DIGEST = "0123456789abcdef" * 4


def said(**words: object) -> bytes:
    return json.dumps(words).encode()


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ({"step": "status"}, requests.Status()),
        ({"step": "stop"}, requests.Stop()),
        ({"step": "seal"}, requests.Seal()),
        ({"step": "clear", "epoch": 3}, requests.Clear(3)),
        ({"step": "advance", "epoch": 0}, requests.Advance(0)),
        ({"step": "collect", "epoch": 1}, requests.Collect(1)),
        ({"step": "open", "epoch": 1}, requests.Open(1)),
        (
            {"step": "checkpoint", "full": False, "most_bytes": 1 << 40},
            requests.TakeCheckpoint(full=False, most_bytes=1 << 40),
        ),
        ({"step": "writing"}, requests.Writing()),
        (
            {"step": "save", "path": '/a [{"b"}] \udcff', "sha256": DIGEST},
            requests.Save('/a [{"b"}] \udcff', DIGEST),
        ),
        ({"step": "leave"}, requests.Leave()),
        ({"step": "release", "stop": True}, requests.Release(stop=True)),
    ],
)
def test_each_request_is_understood(words: dict[str, object], meant: requests.Request) -> None:
    assert requests.decode(said(**words)) == meant
    assert requests.name_of(meant) == words["step"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (None, "it is of more than 65536 bytes, or comes with descriptors"),
        (b"", "it is not one flat object"),
        (b"[]", "it is not one flat object"),
        (b"null", "it is not one flat object"),
        (b'"{"', "it is not one flat object"),
        (b"[" * 60000, "it is not one flat object"),
        (b'{"a":' * 10000, "it is not one flat object"),
        (b'{"step": {"a": 1}}', "it is not one flat object"),
        (b'{"step": ["status"]}', "it is not one flat object"),
        (b'{"step"', "it is no JSON"),
        (b'{"step": "status"} {}', "it is not one flat object"),
        (b"\xff\xfe{}", "it is no JSON"),
        (b'{"step": NaN}', "it is no JSON"),
        (b'{"step": Infinity}', "it is no JSON"),
        (b'{"step": 1e999}', "it is no JSON"),
        (b'{"step": ' + b"9" * 10000 + b"}", "it is no JSON"),
        (b"{}", "there is no step None"),
        (said(step="fly"), "there is no step 'fly'"),
        (said(step=5), "there is no step 5"),
        (said(step="clear"), "clear takes epoch as int, and got None"),
        (said(step="clear", epoch="1"), "clear takes epoch as int"),
        (said(step="clear", epoch=True), "clear takes epoch as int"),
        (said(step="clear", epoch=-1), "clear takes no epoch of -1"),
        (said(step="clear", epoch=1 << 70), "clear takes no epoch of 11805"),
        (said(step="status", more=1), "status takes no 'more'"),
        (said(step="checkpoint", full=1, most_bytes=1), "checkpoint takes full as bool"),
        (said(step="checkpoint", full=True), "checkpoint takes most_bytes as int"),
        (said(step="save", path=5, sha256=DIGEST), "save takes path as str, and got 5"),
        (said(step="save", path="/x", sha256="y"), "save takes a SHA-256 as sha256"),
        (said(step="save", path="/x", sha256=DIGEST + "\n"), "save takes a SHA-256 as sha256"),
        (said(step="save", path="/x\0y", sha256=DIGEST), "save takes no path of"),
        (said(step="save", path="\ud800", sha256=DIGEST), "save takes no path of"),
        (said(step="release"), "release takes stop as bool"),
    ],
)
def test_what_is_no_request_is_refused_with_what_is_wrong(text: bytes | None, wrong: str) -> None:
    with pytest.raises(KeeperError) as refused:
        requests.decode(text)
    assert wrong in str(refused.value)
    assert str(refused.value).endswith("; the client is of another version")


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(text: bytes) -> None:
    try:
        requests.decode(text)
    except KeeperError:
        return


_LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["step", "epoch", "path", "stop", "x"]), _VALUES))
def test_no_object_raises_anything_else(words: dict[str, Any]) -> None:
    try:
        requests.decode(said(**words))
    except KeeperError:
        return


def test_many_escapes_in_a_string_without_an_end_are_read_once() -> None:
    """A search that begins again at each quote would take minutes for this."""
    with pytest.raises(KeeperError):
        requests.decode(b'"' + b'\\"' * 30000 + b"\\")


@given(_VALUES)
def test_json_that_is_made_in_pieces_is_the_same(value: Any) -> None:
    assert json.loads("".join(pieces(value))) == value


def test_a_long_list_is_made_in_pieces() -> None:
    value = {"runs": list(range(100_000)), "empty": [], "deep": [{"a": [1]}, {}]}
    made = list(pieces(value))
    assert json.loads("".join(made)) == value
    assert max(map(len, made)) < 50_000
