"""fused: the live part of a workload, from keep to seal, by one process.

Each step is what it is as a job of its own, and leaves the same files.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tidemark.files import write_json
from tidemark.keeper.launch import OWNER_VARIABLE
from tidemark.steps import live
from tidemark.steps.collect import collect
from tidemark.steps.dump import Targets, dump
from tidemark.steps.job import Meter
from tidemark.steps.merge import merge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def fused(workload_json: str, keeper: Path, epochs: int, directory: Path) -> None:
    """Take a workload through its epochs, and write what all live steps write to ``directory``.

    The keeper ends with this process.

    :param keeper: the path of ``keeper.json``, which is there as long as the keeper is
    :raises TidemarkError: what any step raises
    """
    os.environ[OWNER_VARIABLE] = str(os.getpid())
    try:
        live.keep(workload_json, keeper)
        for epoch in range(epochs):
            _Epoch(keeper, epoch, directory).run()
        live.seal(keeper, _of_one_life(directory, epochs), directory / "live.json")
    except BaseException:
        if keeper.exists():
            live.stop(keeper)
        raise
    finally:
        keeper.unlink(missing_ok=True)


def _of_one_life(directory: Path, epochs: int) -> list[Path]:
    steps = ("clear.json", "advance.json")
    return [directory / f"e{epoch}" / step for epoch in range(epochs) for step in steps]


class _Epoch:
    """The live steps of one epoch."""

    def __init__(self, keeper: Path, number: int, directory: Path) -> None:
        self._keeper, self._number = keeper, number
        self._home = directory / f"e{number}"
        self._parent = directory / f"e{number - 1}" / "image" if number else None

    def run(self) -> None:
        """Do them, in the order that the keeper wants."""
        home, keeper, number = self._home, self._keeper, self._number
        with self._costing("clear"):
            live.clear(keeper, number, home / "clear.json")
        with self._costing("advance"):
            live.advance(keeper, number, home / "advance.json")
        with self._costing("collect"):
            collect(keeper, number, home / "scan.pb")
        with self._costing("merge"):
            merge(home / "scan.pb", home / "bitmap.pb")
        with self._costing("dump"):
            targets = Targets(home / "image", home / "layout.json", home / "truth.json")
            dump(keeper, number, home / "bitmap.pb", self._parent, targets)

    @contextmanager
    def _costing(self, step: str) -> Iterator[None]:
        """Write what the block cost, if it succeeds."""
        meter = Meter.from_now()
        yield
        write_json(self._home / "cost" / f"{step}.json", {"step": step, **meter.read()})
