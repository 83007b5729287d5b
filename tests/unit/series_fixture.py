"""Makes series of checkpoints for the tests, as a client does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_fixture import Content, write

from tidemark.files import write_json

if TYPE_CHECKING:
    from pathlib import Path

    from tidemark.checkpoint.series import Series


def add(series: Series, number: int, parent: int | None) -> None:
    """Write a checkpoint as a client does."""
    staged = series.stage()
    write_json(staged / "layout.json", {}, series.mode)
    above = None if parent is None else series.image(parent)
    tags = {1 + number: number}
    inherited = [] if parent is None else [0]
    new = Content(tags if inherited else {0: 1, **tags}, inherited)
    becomes = series.image(number)
    write(staged / "image", {1: new}, above, number, mode=series.mode, becomes=becomes)
    series.publish(number)


def fill(series: Series, count: int) -> Series:
    for number in range(count):
        add(series, number, number - 1 if number else None)
    return series


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())
