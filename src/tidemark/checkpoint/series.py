"""A directory of checkpoints: one numbered directory each, with an image and its layout."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tidemark.checkpoint.ours import (
    IMAGE,
    MOUNT,
    first_foreign,
    foreign_in,
    is_one,
    looks_like_one,
    name_of,
    number_of,
)
from tidemark.directories import directory_mode, make_within
from tidemark.errors import StorageError
from tidemark.files import storage_errors
from tidemark.image.spares import Spares
from tidemark.image.squash import squash
from tidemark.locks import NAME as LOCK
from tidemark.locks import held
from tidemark.owned import MARK_JSON, Kind, OwnDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

CHECKPOINTS = Kind("checkpoints", "a directory of checkpoints", first_foreign)

_STAGED = "new"


class ForeignError(StorageError):
    """Something that is not ours is in the way."""


class Series:
    """The checkpoints in ``directory``, which is held against other writers; a context manager.

    A checkpoint appears whole, by a rename, and vanishes by one. What a writer that was killed
    has left, all of it within the mark of the directory, is removed. The files of checkpoints that
    are removed are ``spares`` for those to come. What is not ours is left as it is.

    :param mode: the permissions of files, where the directory is shared; None for what it has
    :raises BusyError: when another holds it
    :raises StorageError: when it holds what is not ours, or cannot be written
    """

    def __init__(self, directory: Path, mode: int | None = None) -> None:
        self._own = OwnDirectory(directory, CHECKPOINTS, mode)
        try:
            self._lock = held(
                self._own,
                lambda who: (
                    f"another process writes checkpoints to {directory} ({who}); wait for it, "
                    "or use another directory"
                ),
            )
        except BaseException:
            self._own.close()
            raise
        self.directory = self._own.path
        self.mode = self._own.mode
        self.spares = Spares(self._own.within / "spares", self.mode)
        self._known: dict[tuple[int, int], bool] = {}
        self._clean()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clean()
        self._lock.release()
        self._own.close()

    def path(self, number: int) -> Path:
        """Return the directory of a checkpoint."""
        return self.directory / name_of(number)

    def image(self, number: int) -> Path:
        """Return the image of a checkpoint."""
        return self.path(number) / IMAGE

    def numbers(self) -> list[int]:
        """Return the numbers of the checkpoints that are there, ascending."""
        return sorted(number for number in self._numbered() if self._is_ours(number))

    def next_number(self) -> int:
        """Return the number of the next checkpoint, whose name is free."""
        # The last one is looked for first: to tell one of ours, its manifest is read.
        descending = sorted(self._numbered(), reverse=True)
        last = (each for each in descending if self._is_ours(each) or self._was_moved(each))
        number = next(last, -1) + 1
        while os.path.lexists(self._at(number)):
            number += 1
        return number

    def holds(self, image: Path) -> bool:
        """Return whether ``image`` is one of these checkpoints."""
        return Path(os.path.realpath(image.parent.parent)) == self.directory

    # Writing one

    def stage(self) -> Path:
        """Return a new directory, in which the next checkpoint is written.

        :raises StorageError: when there is no space, or the series was moved away
        """
        self._own.check_place()
        staged = self._own.within / _STAGED
        with storage_errors(self.directory):
            shutil.rmtree(staged, ignore_errors=True)
            make_within(self._own.private, _STAGED, directory_mode(self.mode), durable=False)
        return staged

    def publish(self, number: int) -> None:
        """Give what was staged its name, for good.

        :raises StorageError: when something has that name by now
        """
        with storage_errors(self.path(number)):
            self._give_back(_STAGED, name_of(number))
            os.fsync(self._own.descriptor)
        self._known[_identity(self._at(number))] = True

    def written(self) -> int:
        """Return how many bytes of content of a checkpoint that is staged are there."""
        found = 0
        for path in self._own.within.glob(f"{_STAGED}/.image.*/pages-*.img"):
            try:
                found += path.stat().st_size
            except OSError:
                continue  # it has its final name by now
        return found

    def squash(self, number: int) -> None:
        """Have a checkpoint hold what its parents hold, and need them no more.

        :raises ForeignError: when its image holds what is not ours, which would go with the old one
        :raises TidemarkError: as :func:`tidemark.image.squash.squash`
        """
        foreign = self._foreign_in(number)
        if foreign is not None and (foreign == MOUNT or foreign.startswith(f"{IMAGE}/")):
            raise ForeignError(self._told(number, foreign))
        beside = self._own.within / f"squashed-{number}"
        squash(self.image(number), beside, self.spares, mode=self.mode, home=self._at(number))

    # Removing one

    def may_go(self, number: int) -> bool:
        """Return whether a checkpoint holds nothing but what we have written."""
        foreign = self._foreign_in(number)
        if foreign is not None:
            log.warning("%s stays, since %s", name_of(number), self._told(number, foreign))
        return foreign is None

    def _foreign_in(self, number: int) -> str | None:
        with storage_errors(self.path(number)):
            return foreign_in(self._at(number))

    def _told(self, number: int, foreign: str) -> str:
        return f"{self.path(number)} holds what is not Tidemark's ({foreign}); move that away"

    def remove(self, number: int) -> None:
        """Remove a checkpoint that :meth:`may_go`.

        It gets another name first, so that no half of it is seen.
        """
        doomed = self._own.within / f"removed-{number}"
        with storage_errors(self.path(number)):
            meant = _identity(self._at(number))
            self._take_in(name_of(number), doomed.name)
            if _identity(doomed) != meant:  # somebody was quicker, and this is his
                self._give_back(doomed.name, name_of(number))
                return
            self.spares.collect(doomed / IMAGE)
            shutil.rmtree(doomed)

    def _take_in(self, name: str, within: str) -> None:
        own = self._own
        os.rename(name, within, src_dir_fd=own.descriptor, dst_dir_fd=own.private)

    def _give_back(self, within: str, name: str) -> None:
        own = self._own
        os.rename(within, name, src_dir_fd=own.private, dst_dir_fd=own.descriptor)

    def _at(self, number: int) -> Path:
        """Return a checkpoint's directory in ours, wherever that is by now."""
        return self._own.at / name_of(number)

    def _numbered(self) -> Iterator[int]:
        for path in self._own.at.iterdir():
            number = number_of(path.name)
            if number is not None:
                yield number

    def _was_moved(self, number: int) -> bool:
        """Return whether a link leads to where a checkpoint was moved."""
        path = self._at(number)
        return path.is_symlink() and is_one(Path(os.path.realpath(path)), number)

    def _is_ours(self, number: int) -> bool:
        path = self._at(number)
        if not looks_like_one(path) or not self._own.trusts(path.lstat()):
            return False
        identity = _identity(path)
        if identity not in self._known:
            self._known[identity] = is_one(path, number)
        return self._known[identity]

    def _clean(self) -> None:
        for path in list(self._own.within.iterdir()):
            if path.name not in {LOCK, MARK_JSON}:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
