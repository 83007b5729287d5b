"""Kills keepers at random moments, and looks whether anybody was harmed by that.

usage: kills.py [--kills N] [--seed S] [KIND...]

Programs that watch themselves (target.c) run all the time. Again and again one of them is kept, and
its keeper is killed (SIGKILL): while it attaches, takes a checkpoint, or lets go. Then the program
must run, on and unharmed: nobody traces it, none of its threads stands, each goes on, and its
descriptors, mappings and signals are what they were. The last line says what was done and seen;
the exit code is 1 where somebody was harmed or stands.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import secrets
import signal
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "live")]

from kept_briefly import PHASES, Phase, RefusedError, killed_within
from system import descriptors, maps, state, status, threads

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = ("plain", "threads", "filtered", "denied", "forking", "spinning", "served", "stopped")
PATIENCE = 5.0
"""Seconds until a program must run again; it does so at once, but the machine may be busy."""

_LOOPS = 8
_COUNTERS = f"<{_LOOPS + 1}Q"
"""As target.c has them: of each loop, and of what was interrupted."""

_SIGNALS = ("SigBlk", "SigIgn", "SigCgt", "Seccomp")


class HarmedError(Exception):
    """A program is not as it was."""


@dataclass
class Target:
    """A program that watches itself; one that is ``stopped`` stands at its own wish."""

    kind: str
    process: subprocess.Popen[bytes]
    address: int
    loops: int
    before: object = None

    @classmethod
    def start(cls, program: Path, kind: str) -> Target:
        """Start one, and note what it looks like."""
        words = [str(program), "plain" if kind == "stopped" else kind]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        address, loops = process.stdout.readline().split()
        target = cls(kind, process, int(address), int(loops))
        target.check_moves()
        target.before = target._appearance()
        if kind == "stopped":
            target._stop()
        return target

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()

    def check(self) -> None:
        """Do nothing if it is as it was.

        :raises HarmedError: when it is not
        """
        self._wait_until(self._is_let_go, "it is still traced, or stands")
        if self.kind == "stopped":
            os.kill(self.pid, signal.SIGCONT)  # it finds its way back when it runs
        self.check_moves()
        self._wait_until(lambda: self._appearance() == self.before, "it does not look as before")
        if self.kind == "stopped":
            self._stop()

    def _stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        self._wait_until(lambda: state(self.pid) == "T", "it does not stop")

    def check_moves(self) -> None:
        """Do nothing if each of its loops goes on.

        :raises HarmedError: when one does not
        """
        before = self._progress()
        self._wait_until(
            lambda: all(map(int.__lt__, before, self._progress())),
            "one of its loops does not go on",
        )

    def _progress(self) -> tuple[int, ...]:
        return self._counters()[: self.loops]

    def interrupted(self) -> int:
        """Return how often a wait without a time limit was interrupted."""
        return self._counters()[_LOOPS]

    def _counters(self) -> tuple[int, ...]:
        size = struct.calcsize(_COUNTERS)
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123 - seekable
            memory.seek(self.address)
            return struct.unpack(_COUNTERS, memory.read(size))

    def _is_let_go(self) -> bool:
        wanted = "T" if self.kind == "stopped" else "RSD"
        tids = threads(self.pid)
        return all(status(tid, "TracerPid") == "0" and state(tid) in wanted for tid in tids)

    def _appearance(self) -> object:
        signals = [[status(tid, name) for name in _SIGNALS] for tid in threads(self.pid)]
        return descriptors(self.pid), maps(self.pid), signals

    def _wait_until(self, done: object, wrong: str) -> None:
        assert callable(done)
        deadline = time.monotonic() + PATIENCE
        while not self._try(done):
            if time.monotonic() > deadline:
                raise HarmedError(f"{self.kind}: {wrong}: {self._describe()}")
            time.sleep(0.0005)

    def _try(self, done: object) -> bool:
        assert callable(done)
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                return bool(done())
            return False
        _, said = self.process.communicate()
        ended = self.process.returncode
        raise HarmedError(f"{self.kind}: it ended with {ended}: {said.decode().strip()}")

    def _describe(self) -> str:
        return ", ".join(
            f"{tid} {state(tid)} {status(tid, 'TracerPid')}" for tid in threads(self.pid)
        )


@dataclass
class Tally:
    """What was done and seen. ``within`` counts the kills before the phase was over.

    ``interrupted`` counts waits without a time limit that have ended with EINTR, and ``refused``
    the keepers that have said why they cannot attach.
    """

    kills: int = 0
    within: int = 0
    harmed: int = 0
    interrupted: int = 0
    refused: int = 0

    def line(self, seed: int, seconds: float) -> str:
        """Return it as a line."""
        return (
            f"{self.kills} keepers killed, {self.within} of them within what they did; "
            f"{self.harmed} programs harmed or standing, {self.interrupted} waits interrupted, "
            f"{self.refused} refused; "
            f"seed {seed}, {seconds:.0f} s"
        )


def build(directory: Path) -> Path:
    """Compile the target."""
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"]
    program = directory / "target"
    subprocess.run(["cc", *flags, "-o", program, HERE / "target.c"], check=True)
    return program


def kill_keepers(kinds: Sequence[str], kills: int, seed: int, directory: Path) -> Tally:
    """Kill ``kills`` keepers, of each kind of program as many; say on stderr who was harmed."""
    dice = random.Random(seed)  # noqa: S311 - repeatable
    program, tally = build(directory), Tally()
    for i, kind in enumerate(kinds):
        share = kills * (i + 1) // len(kinds) - kills * i // len(kinds)
        _kill_keepers_of(program, kind, share, dice, tally)
    return tally


def _kill_keepers_of(
    program: Path, kind: str, kills: int, dice: random.Random, tally: Tally
) -> None:
    target = Target.start(program, kind)
    usual = dict.fromkeys(PHASES, 0.03)
    try:
        for _ in range(kills):
            phase = dice.choice(PHASES)
            seconds = dice.uniform(0, 1.3 * usual[phase])
            try:
                took = _kill_one(target, phase, seconds, program.parent / "keeper", tally)
                usual[phase] = (usual[phase] + took) / 2 if took else usual[phase]
            except HarmedError as error:
                tally.harmed += 1
                sys.stderr.write(f"kill {tally.kills}, {phase.value}, {seconds:.6f} s: {error}\n")
                target.end()
                target = Target.start(program, kind)
        tally.interrupted += target.interrupted()
    finally:
        target.end()


def _kill_one(
    target: Target, phase: Phase, seconds: float, directory: Path, tally: Tally
) -> float | None:
    """Kill a keeper, and look at its program; return how long the phase took, if it was over.

    :raises HarmedError: when the program is not as it was
    """
    took = None
    try:
        took = killed_within(target.pid, phase, seconds, directory)
        tally.kills += 1
        tally.within += took is None
    except RefusedError as refusal:
        tally.refused += 1
        sys.stderr.write(f"refused: {refusal}\n")
    target.check()
    return took


def main() -> int:
    """Kill keepers as told; return 1 where somebody was harmed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("kinds", metavar="KIND", nargs="*", choices=[*KINDS, []], default=[])
    arguments = parser.parse_args()
    kinds = arguments.kinds or list(KINDS)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        tally = kill_keepers(kinds, arguments.kills, arguments.seed, Path(directory))
    sys.stdout.write(tally.line(arguments.seed, time.monotonic() - begun) + "\n")
    return 1 if tally.harmed else 0


if __name__ == "__main__":
    sys.exit(main())
