"""Keeping the last checkpoints of a series, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemark.image.directory import open_image
from tidemark.image.squash import squash

if TYPE_CHECKING:
    from pathlib import Path

    from tidemark.checkpoint.series import Series


def keep_last(series: Series, count: int) -> None:
    """Remove all checkpoints but the last ``count``.

    Those that stay and need one that goes are squashed before: they get what it held. Whenever
    this is broken off, each that stays can be restored, and the next time goes on from there. The
    files of those that go are spares for the checkpoints to come.

    :raises ImageError: when one that is needed is damaged; then none is removed
    :raises StorageError: when there is no space to squash
    """
    numbers = series.numbers()
    kept = numbers[-count:]
    with series.spares.renewed():
        for number in kept:
            if _parent_of(series.image(number)) not in {None, *kept}:
                squash(series.image(number), series.spares)
        for number in numbers[:-count]:
            series.remove(number)


def _parent_of(image: Path) -> int | None:
    link = open_image(image).link
    return None if link is None else int((image / link).resolve().parent.name)
