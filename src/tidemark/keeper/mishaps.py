"""What went wrong with a workload and ended nothing.

Each mishap stands in the keeper's log when it happens, and is told with the next checkpoint.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tidemark.errors import TidemarkError, UnsupportedError
from tidemark.keeper.suspicion import UNTRACKED
from tidemark.native.library import NativeError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

_MOST = 100
"""So many are remembered until the next checkpoint; the log has all."""


class Mishaps:
    """Notes what went wrong, in the log and for the next checkpoint."""

    def __init__(self) -> None:
        self._untold: dict[str, int] = {}  # by what is said: how often
        self._more = 0

    def note(self, what: str, error: BaseException | None = None) -> None:
        """Note a mishap; of an ``error`` that nobody foresaw the log gets the traceback."""
        said = f"{what}: {describe(error)}" if error else what
        foreseen = error is None or isinstance(error, (TidemarkError, OSError))
        if said not in self._untold:
            log.warning("%s", said, exc_info=None if foreseen else error)
        if said in self._untold or len(self._untold) < _MOST:
            self._untold[said] = self._untold.get(said, 0) + 1
        else:
            self._more += 1

    @contextmanager
    def noted(self, what: str) -> Iterator[None]:
        """Note what fails in the block, and go on behind it."""
        try:
            yield
        except Exception as error:
            self.note(what, error)

    def take(self) -> list[str]:
        """Return what has happened since this was asked last."""
        told = [f"{said} ({n} times)" if n > 1 else said for said, n in self._untold.items()]
        if self._more:
            told.append(f"{self._more} more, which are in the keeper's log")
        self._untold, self._more = {}, 0
        return told


def describe(error: BaseException) -> str:
    """Return an error in words; one that nobody foresaw with its class."""
    if isinstance(error, TidemarkError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    if isinstance(error, MemoryError):
        return "the keeper has no memory left"
    return f"{type(error).__name__}: {error}"


def reason_of(error: BaseException) -> str:
    """Return the reason for which pages are suspect where something could not be tracked.

    It names no process, as it stands in files that are to be the same in each run.
    """
    if isinstance(error, NativeError) and error.pid:
        return f"{UNTRACKED}: {str(error).removeprefix(f'process {error.pid}: ')}"
    if isinstance(error, OSError) and error.strerror:
        return f"{UNTRACKED}: {error.strerror}"
    if isinstance(error, UnsupportedError):
        return f"{UNTRACKED}: memory of a kind that is not supported"
    return f"{UNTRACKED}: {describe(error)}"
