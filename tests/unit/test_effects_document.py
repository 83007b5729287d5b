"""Each effect that is documented has its test, which is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EFFECTS = (ROOT / "docs/effects.md").read_text()
TABLES = re.findall(r"(?:^\|.*\n)+", EFFECTS, re.MULTILINE)
NAMED = [
    (where, words)
    for where, words in re.findall(r"`((?:reliability/)?test_\w+)`: ([^|;]+?)(?: \||;)", EFFECTS)
]


def test_each_row_names_its_test() -> None:
    rows = [
        row
        for table in TABLES
        if table.splitlines()[0].endswith("| test |")
        for row in table.splitlines()[2:]
    ]
    without = [row for row in rows if "`test_" not in row and "/test_" not in row]
    assert len(rows) > 20
    assert all(row.endswith("| `make bench` |") for row in without), without


@pytest.mark.parametrize(("where", "words"), NAMED)
def test_the_test_is_there(where: str, words: str) -> None:
    place = ROOT / "tests" / (where if "/" in where else f"live/{where}")
    name = re.sub(r"\W+", "_", words.strip())
    assert f"def test_{name}(" in place.with_suffix(".py").read_text()
