"""Keeping the last checkpoints of a series, and no others."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.checkpoint.series import ForeignError
from tidemark.errors import ImageError
from tidemark.image.chain import open_images
from tidemark.image.directory import open_image
from tidemark.native.library import LackingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidemark.checkpoint.series import Series
    from tidemark.checkpoint.take import Taken

log = logging.getLogger(__name__)


class DamagedError(ImageError):
    """A checkpoint that is kept, or one that it needs, is damaged; ``number`` is the kept one."""

    def __init__(self, number: int, damage: ImageError) -> None:
        super().__init__(str(damage))
        self.number = number


def keep_last(series: Series, count: int) -> None:
    """Remove all checkpoints but the last ``count``, and those in which something foreign is.

    Those that stay and need one that goes are squashed before: they get what it held. Whenever
    this is broken off, each that stays can be restored, and the next time goes on from there. The
    files of those that go are spares for the checkpoints to come.

    :raises ForeignError: when one that is to be squashed holds what is not ours; likewise
    :raises DamagedError: when one that is needed is damaged; then none is removed
    :raises StorageError: when there is no space to squash
    """
    numbers = series.numbers()
    doomed = [number for number in numbers[:-count] if series.may_go(number)]
    kept = [number for number in numbers if number not in doomed]
    staying = {series.image(number) for number in kept}
    with series.spares.renewed():
        for number in kept:
            try:
                if _parent_of(series.image(number)) not in {None, *staying}:
                    series.squash(number)
            except ImageError as error:
                raise DamagedError(number, error) from error
        for number in doomed:
            series.remove(number)


def _parent_of(image: Path) -> Path | None:
    link = open_image(image).link
    return None if link is None else Path(os.path.realpath(image / link))


def keep_sound(series: Series, count: int, take_in_full: Callable[[], Taken]) -> Taken | None:
    """Remove all checkpoints but the last ``count``; mend the series where damage is found.

    What is damaged is not merged, and stays until later ones take its place. If the last checkpoint
    needs it, another one is taken in full.

    :return: that one
    :raises TidemarkError: what that one failed of
    :raises StorageError: when there is no space to squash
    """
    try:
        keep_last(series, count)
    except (LackingError, ForeignError) as error:
        log.warning("older checkpoints stay, since %s", error)
    except DamagedError as error:
        log.warning("older checkpoints stay, since %s", error)
        if _needs(series, series.numbers()[-1], error.number):
            log.warning("a checkpoint in full, since the last one needs what is damaged")
            return take_in_full()
    return None


def _needs(series: Series, last: int, damaged: int) -> bool:
    """Return whether a checkpoint needs another one, or cannot tell, for it is damaged itself."""
    try:
        needed = {Path(os.path.realpath(image.path)) for image in open_images(series.image(last))}
    except ImageError:
        return True
    return series.image(damaged) in needed
