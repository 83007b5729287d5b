"""A torture of live checkpoints: they are taken while the operations are done.

When the operations of a part are over, all comes to rest; then a last checkpoint is taken and its
content compared with what the processes' memory holds.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
from typing import TYPE_CHECKING, Self

from by_epochs import chain_content
from census import processes_of
from group import Group
from mapped import Mapped, unmatched
from staging import Setting, new_stage, parts
from tally import LostError, Tally, counting

from tidemark.checkpoint.series import Series
from tidemark.checkpoint.take import Taken, Taker
from tidemark.image.chain import Chain
from tidemark.keeper.main import CHECKPOINTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mapped import Object
    from operations import Operation
    from stage import Stage

    from tidemark.keeper.client import Client

_PLENTY = 1 << 30
_LITTLE = 1 << 20
"""How many bytes a checkpoint may copy: with few, the workload stands until all is written."""

_PAUSE = 0.01
"""The longest time between two checkpoints, in seconds."""

_PARTS = 5
"""After so many parts a new series begins, with a checkpoint in full."""


def put_through(setting: Setting, sequence: Sequence[Operation]) -> Tally:
    """Have a new group go through a sequence of operations while checkpoints of it are taken.

    :raises LostError: when at rest a checkpoint does not hold what the memory does
    """
    tally = Tally()
    with counting(tally), new_stage(setting) as stage, _mapped(setting) as mapped:
        stage.words = (CHECKPOINTS,)
        group = Group(stage)
        directory = stage.directory / "none"
        for place, part in enumerate(parts(sequence)):
            if place % _PARTS == 0:
                shutil.rmtree(directory, ignore_errors=True)
                directory = stage.directory / f"checkpoints-{place}"
            with Camera(stage, directory, place) as camera:
                group.tend()
                for operation in part:
                    tally.operations += 1
                    group.do(operation)
                    camera.check()
                group.settle()
            with stage.client() as client:
                taken = take(client, directory, _PLENTY)
            tally.pages += compare(taken, mapped.objects(processes_of(stage.keeper["pid"])))
            tally.compared += 1
            tally.checkpoints += camera.taken + 1
        tally.lacking += group.lacking
    tally.operations_at_checkpoints = tally.operations
    return tally


def _mapped(setting: Setting) -> Mapped:
    return Mapped(only_shown=bool(setting.user))


class Camera:
    """Takes one checkpoint after the other, in a thread of its own, until it is left."""

    def __init__(self, stage: Stage, directory: Path, seed: int) -> None:
        self.taken = 0
        self._directory = directory
        self._stage = stage
        self._chance = random.Random(seed)  # noqa: S311 - what is taken when is not a secret
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.check()

    def check(self) -> None:
        """Fail if a checkpoint has failed.

        :raises TidemarkError: as it has
        """
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with self._stage.client() as client:
                while not self._over.is_set():
                    self._take_one(client)
                    time.sleep(self._chance.random() * _PAUSE)
        except BaseException as error:
            self._error = error

    def _take_one(self, client: Client) -> None:
        most = self._chance.choice((_LITTLE, _PLENTY, _PLENTY, _PLENTY))
        if self._chance.random() < 0.1:
            client.ask("checkpoint", full=False, most_bytes=most)
            client.ask("leave")  # nobody has saved it
        else:
            take(client, self._directory, most)
        self.taken += 1


def take(client: Client, directory: Path, most_bytes: int) -> Taken:
    """Take a checkpoint."""
    with Series(directory) as series:
        return Taker(client, series, most_bytes).take()


def compare(taken: Taken, live: list[Object]) -> int:
    """Compare a checkpoint of a group that is at rest with its memory; return how many pages.

    :raises LostError: where they differ
    """
    with Chain(taken.path / "image") as chain:
        saved = [chain_content(chain, number) for number in sorted(chain.regions())]
    for wrong, whole in unmatched(live, saved):
        what = "an object" if whole else "a part of an object"
        raise LostError(
            f"checkpoint {taken.number}: {what} is not in the dump, or not in memory: pages "
            f"{sorted(wrong)[:9]} of it"
        )
    return sum(len(each.content) for each in live)
