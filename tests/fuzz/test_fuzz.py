"""What reads files withstands the corpus, and what a fuzzer makes up in a few seconds."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import fuzz
import pytest
from harnesses import HARNESSES
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 2


def _inputs(harness: str) -> list[Path]:
    return sorted((fuzz.CORPUS / harness).iterdir())


@pytest.mark.parametrize("harness", fuzz.PYTHON)
def test_a_reader_withstands_its_corpus(harness: str) -> None:
    inputs = _inputs(harness)
    for path in inputs:
        HARNESSES[harness](path.read_bytes())
    assert inputs


@pytest.mark.parametrize("harness", fuzz.PYTHON)
@settings(max_examples=50)
@given(data=st.data())
def test_a_reader_withstands_a_piece_of_its_corpus_that_is_damaged(
    harness: str, data: st.DataObject
) -> None:
    content = bytearray(data.draw(st.sampled_from(_inputs(harness))).read_bytes())
    first = data.draw(st.integers(0, len(content)))
    last = data.draw(st.integers(first, len(content)))
    content[first:last] = data.draw(st.binary(max_size=16))
    HARNESSES[harness](bytes(content))


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris cannot be had for this Python"
)
@pytest.mark.parametrize("harness", fuzz.PYTHON)
def test_a_reader_withstands_what_a_fuzzer_makes_up(harness: str) -> None:
    outcome = fuzz.fuzz(harness, SECONDS)
    assert outcome.code == 0, outcome.said[-3000:]
    assert outcome.coverage > 0, "its code is not instrumented"


@pytest.fixture(scope="module")
def built() -> None:
    if lacking := fuzz.build():
        pytest.skip(lacking)


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("harness", fuzz.NATIVE)
def test_a_native_parser_withstands_what_a_fuzzer_makes_up(harness: str) -> None:
    outcome = fuzz.fuzz(harness, SECONDS)
    assert outcome.code == 0, outcome.said[-3000:]
    assert outcome.coverage > 0, "its code is not instrumented"
