"""Lets each system call of a command, or of the keeper, fail once; and looks at what comes of it.

    python tests/faults/sweep.py [--count N] [--turn T] [SWEEP ...]     (as `make faults` does)

A count of N takes a sample of N points of each sweep, another turn other ones.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from points import points_of, sample
from scene import HarmError, Injected, Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from points import Point

COMMANDS = ("keep", "checkpoint", "checkpoint --keep", "restore")
KEEPER = "keeper"
SWEEPS = (*COMMANDS, KEEPER)


@dataclass
class Result:
    """What a sweep came to: ``outcomes`` by exit code, and what must not be, by point."""

    points: int = 0
    of: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    harm: list[str] = field(default_factory=list)


def sweep(name: str, directory: Path, count: int | None = None, turn: int = 0) -> Result:
    """Let each call fail once, or ``count`` of them; ``directory`` is empty, and stays."""
    result = Result()
    with Scene(directory) as scene:
        fail = _keeper_fails if name == KEEPER else _command_fails
        points = _points(name, scene)
        chosen = points if count is None else sample(points, count, turn)
        result.points, result.of = len(chosen), len(points)
        for point in chosen:
            try:
                result.outcomes[fail(name, scene, point)] += 1
            except HarmError as harm:
                result.harm.append(f"{name}: {point}: {harm}")
                print(result.harm[-1], file=sys.stderr, flush=True)
    return result


def _prepare(name: str, scene: Scene) -> None:
    """Set the scene for one fault: three checkpoints, and something stored since the last."""
    if name == "keep":
        if scene.keeper():
            scene.must("release")
        shutil.rmtree(scene.directory / "kept", ignore_errors=True)
    else:
        scene.keep_again()
        while len(scene.checkpoints()) < 3:
            scene.deed()
            scene.must("checkpoint")
    shutil.rmtree(scene.directory / "out", ignore_errors=True)
    scene.deed()


def _points(name: str, scene: Scene) -> list[Point]:
    _prepare(name, scene)
    if name != KEEPER:
        return scene.points(name)
    log = scene.directory / "trace"
    with Injected(scene.keeper(), None, log):
        scene.must("checkpoint")
    return points_of(log.read_text(errors="replace").splitlines(), begun=True)


def _command_fails(name: str, scene: Scene, point: Point) -> str:
    _prepare(name, scene)
    done = scene.fail(name, point)
    scene.verify(done)
    _go_on(scene)
    return f"exit code {done.returncode}"


def _keeper_fails(_: str, scene: Scene, point: Point) -> str:
    _prepare(KEEPER, scene)
    keeper = scene.keeper()
    with Injected(keeper, point, scene.directory / "trace"):
        done = scene.run("checkpoint")
    scene.verify(done)
    gone = scene.keeper() != keeper
    _go_on(scene)
    return "the keeper ended" if gone else f"exit code {done.returncode}"


def _go_on(scene: Scene) -> None:
    """Try again: that works, and loses nothing."""
    scene.keep_again()
    scene.must("checkpoint")
    scene.verify_newest()


def _told(name: str, result: Result) -> str:
    outcomes = ", ".join(f"{what}: {count}" for what, count in sorted(result.outcomes.items()))
    return f"{name:18} {result.points} of {result.of} faults; {outcomes}; harm: {len(result.harm)}"


def _each(names: Sequence[str], run: Callable[[str, Path], Result]) -> int:
    harmed = 0
    for name in names:
        with tempfile.TemporaryDirectory(prefix="faults-") as directory:
            result = run(name, Path(directory))
        print(_told(name, result), flush=True)
        harmed += len(result.harm)
    return int(harmed > 0)


def main() -> int:
    """Sweep what is named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int)
    parser.add_argument("--turn", type=int, default=0)
    parser.add_argument("names", nargs="*", choices=[[], *SWEEPS])
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the program is to end, too
    return _each(
        arguments.names or SWEEPS,
        lambda name, directory: sweep(name, directory, arguments.count, arguments.turn),
    )


if __name__ == "__main__":
    sys.exit(main())
