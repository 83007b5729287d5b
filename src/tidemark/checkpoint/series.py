"""A directory of checkpoints: one numbered directory each, with an image and its layout."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Self

from tidemark.files import storage_errors
from tidemark.image.names import MANIFEST
from tidemark.image.spares import Spares
from tidemark.locks import held

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DIGITS = 6


class Series:
    """The checkpoints in ``directory``, which is held against other writers; a context manager.

    A checkpoint is there when its image is, which appears whole. What a writer that was killed
    has left is removed. The files of checkpoints that are removed are ``spares`` for those to come.

    :raises BusyError: when another holds it
    :raises StorageError: when it cannot be written
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.spares = Spares(directory / ".spares")
        self._lock = held(
            directory,
            lambda who: (
                f"another process writes checkpoints to {directory} ({who}); wait for it, "
                "or use another directory"
            ),
        )
        self._clean()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.spares.clear()
        self._lock.release()

    def path(self, number: int) -> Path:
        """Return the directory of a checkpoint."""
        return self.directory / f"{number:0{_DIGITS}}"

    def image(self, number: int) -> Path:
        """Return the image of a checkpoint."""
        return self.path(number) / "image"

    def numbers(self) -> list[int]:
        """Return the numbers of the checkpoints that are there, ascending."""
        return sorted(
            int(path.name) for path in self._numbered() if (path / "image" / MANIFEST).is_file()
        )

    def next_number(self) -> int:
        """Return the number of the next checkpoint."""
        return max((int(path.name) for path in self._numbered()), default=-1) + 1

    def holds(self, image: Path) -> bool:
        """Return whether ``image`` is one of these checkpoints."""
        return image.parent.parent.resolve() == self.directory.resolve()

    def remove(self, number: int) -> None:
        """Remove a checkpoint. Under a name that is none first, so that no half of it is seen."""
        doomed = self.directory / f".{number}.removed"
        with storage_errors(doomed):
            self.path(number).rename(doomed)
            self.spares.collect(doomed / "image")
            shutil.rmtree(doomed)

    def _numbered(self) -> Iterator[Path]:
        for path in self.directory.iterdir():
            if path.name.isdecimal() and len(path.name) >= _DIGITS and path.is_dir():
                yield path

    def _clean(self) -> None:
        self.spares.clear()
        for path in self.directory.glob(".*.removed"):
            shutil.rmtree(path, ignore_errors=True)
        for path in list(self._numbered()):
            for left in path.glob(".image.*"):
                shutil.rmtree(left, ignore_errors=True)
            if not (path / "image").exists():
                shutil.rmtree(path, ignore_errors=True)
