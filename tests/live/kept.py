"""A workload that is kept, and the checkpoints that are taken of it.

What a checkpoint has to hold is read from the memory of the workload's processes, by the kernel
alone, at a moment in which the actors do nothing. When a test is over, each checkpoint that is
still there is restored, and compared with that.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from system import PATIENCE

from tidemark.checkpoint.series import Series
from tidemark.checkpoint.take import Taken, Taker
from tidemark.keeper.main import CHECKPOINTS
from tidemark.restore.files import restore_files

if TYPE_CHECKING:
    from actors import Actor, Window
    from stage import Stage

PLENTY = 1 << 30
PAGES = 16


class Kept:
    """An actor with a region, kept by a keeper; ``windows`` are what is looked at."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.directory = stage.directory / "checkpoints"
        self.windows: list[tuple[Actor, Window]] = []
        self._others: list[tuple[int, Window]] = []
        self._expected: dict[int, list[bytes]] = {}
        stage.words = (CHECKPOINTS,)

    def attach(self, **changes: object) -> tuple[Actor, Window]:
        """Keep an actor that runs already."""
        leader, window = self.program()
        self.stage.attach(leader, **changes)
        return leader, window

    def program(self) -> tuple[Actor, Window]:
        """Start an actor that nobody keeps yet."""
        leader = self.stage.program()
        return leader, self._watch(leader)

    def start(self, **changes: object) -> tuple[Actor, Window]:
        """Have a keeper start an actor."""
        leader = self.stage.start(**changes)
        window = self._watch(leader)
        self.stage.ready()
        return leader, window

    def _watch(self, leader: Actor) -> Window:
        window = leader.anonymous(PAGES)
        leader.fill(window)
        self.windows.append((leader, window))
        return window

    def take(self, most_bytes: int = PLENTY) -> Taken:
        """Take a checkpoint."""
        with self.stage.client() as client, Series(self.directory) as series:
            taken = Taker(client, series, most_bytes).take()
        self.expect(taken.number)
        return taken

    def expect(self, number: int) -> None:
        """Note that a checkpoint has to hold what the memory holds now."""
        self._expected[number] = self.memory()

    def memory(self) -> list[bytes]:
        """Return what each of the windows shows."""
        shown = [(actor.pid, window) for actor, window in self.windows] + self._others
        return sorted(_read(pid, window) for pid, window in shown)

    def watch(self, pid: int, window: Window) -> None:
        """Look at memory of a process that is no actor, too."""
        self._others.append((pid, window))

    def check_all(self) -> list[int]:
        """Restore each checkpoint that is there, and compare; return their numbers."""
        with Series(self.directory) as series:
            numbers = series.numbers()
            for number in numbers:
                assert self.restored(series.image(number)) == self._expected[number], number
        return numbers

    def restored(self, image: Path) -> list[bytes]:
        """Return the content of each region of an image."""
        with TemporaryDirectory(dir=self.stage.directory) as target:
            return sorted(path.read_bytes() for path in restore_files(image, Path(target)))

    def manifest(self, number: int) -> dict[str, Any]:
        """Return what the manifest of a checkpoint says of its one region."""
        return self.stage.manifest_of(self.directory / f"{number:06}" / "image")

    def command(self, *words: str) -> list[str]:
        """Return the command line of a verb of ours."""
        return [str(Path(sys.executable).with_name("tidemark")), *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, check=False, timeout=PATIENCE
        )


def _read(pid: int, window: Window) -> bytes:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(window.address)
        return memory.read(window.bytes)
