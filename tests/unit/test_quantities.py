"""Sizes and times on the command line."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from tidemark.cli.quantities import count, seconds, shown_bytes, shown_seconds, size


@pytest.mark.parametrize(
    ("text", "value"),
    [("5s", 5.0), ("5", 5.0), ("500ms", 0.5), ("1.5m", 90.0), ("2h", 7200.0), ("0.1 s", 0.1)],
)
def test_a_time_is_read_in_its_unit(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "s", "5 days", "-1s", "0", "1.2.3s", "nan"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is no time"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("10", 10),
        ("4K", 4096),
        ("1.5GiB", 3 << 29),
        ("2mb", 2 << 20),
        ("1T", 1 << 40),
        ("9" * 40, 1 << 62),
    ],
)
def test_a_size_is_read_in_powers_of_1024(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "K", "-1", "1X", "1.2.3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is no size"):
        size(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", ""])
def test_what_is_no_count_is_refused(text: str) -> None:
    assert count("3") == 3
    with pytest.raises(ArgumentTypeError, match="is no number"):
        count(text)


def test_amounts_are_shown_in_units_that_a_human_reads() -> None:
    assert [shown_bytes(n) for n in (0, 1023, 1536, 5 << 20, 3 << 50)] == [
        *("0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3072.0 TiB"),
    ]
    assert [shown_seconds(n) for n in (0.0012, 9.5, 12.34)] == ["1.2 ms", "9500.0 ms", "12.3 s"]
