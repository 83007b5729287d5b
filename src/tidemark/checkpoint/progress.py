"""How far the writing of a checkpoint has come, shown on a terminal."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

_STEP_SECONDS = 0.1
_WIDTH = 40


class Progress:
    """Shows how much of a checkpoint is written; a context manager.

    Only on a terminal, and only when it takes its time, as a first full one does. What is written
    is looked up in the files: the writing itself is one call of the native library.

    :param written: returns how many bytes are
    """

    def __init__(self, written: Callable[[], int], terminal: TextIO) -> None:
        self._written = written
        self._terminal = terminal
        self._total = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def begin(self, total: int) -> None:
        """Learn that ``total`` bytes are going to be written, or less."""
        self._total = total
        if total and self._thread.ident is None and self._terminal.isatty():
            self._thread.start()

    def _show(self) -> None:
        shown = False
        while not self._done.wait(_STEP_SECONDS):
            self._put(_bar(min(1.0, self._written() / self._total), self._total))
            shown = True
        if shown:
            self._put("")

    def _put(self, line: str) -> None:
        self._terminal.write(f"\r\033[K{line}")
        self._terminal.flush()


def _bar(share: float, total: int) -> str:
    done = round(share * _WIDTH)
    return f"[{'#' * done:{_WIDTH}}] {share:4.0%} of {total / (1 << 20):.1f} MiB"
