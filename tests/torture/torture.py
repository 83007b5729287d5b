"""Random operations on processes that share memory, and an oracle that misses nothing.

usage: torture.py [--operations N] [--seed S] [--tracker NAME] [--mode epochs|checkpoints]
                  [--jobs N] [--only VERB,...] [--per-epoch N] [--no-shorten]

Groups of processes go through random operations: one half of them in epochs, at the ends of which
nothing is done, the other while checkpoints are taken. All content is compared, byte by byte. The
last line says what was done: it is all that is on the standard output. A lost page ends it with
the shortest sequence of operations that was found to lose one, and exit code 1.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "live")]

import by_checkpoints
import by_epochs
from operations import Operation, operations
from shortening import shorten, until_lost
from staging import EPOCH, Setting, build
from tally import LostError, Tally

from tidemark.native.probe import probe_tracker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PER_EPOCH = 500
PER_GROUP = 20 * PER_EPOCH

MODES = {"epochs": by_epochs.put_through, "checkpoints": by_checkpoints.put_through}


@dataclass(frozen=True)
class Rack:
    """How groups are put through: ``jobs`` of them at a time.

    ``modes``: of which each group takes one in turn; ``shortest``: the shortest sequence is looked
    for that loses a page; ``only``: the operations that are done, besides the most common.
    """

    setting: Setting
    jobs: int = 1
    shortest: bool = True
    modes: tuple[str, ...] = tuple(MODES)
    only: tuple[str, ...] = ()
    per_epoch: int = PER_EPOCH


def sequences(rack: Rack, seed: int, count: int) -> Iterator[list[Operation]]:
    """Yield the sequence of each group, of ``count`` operations in all."""
    chosen = operations(seed, count, rack.only)
    # A short run has a group in each mode, too.
    per_group = max(1, min(PER_GROUP, count // len(rack.modes)))
    while True:
        sequence: list[Operation] = []
        for place, operation in enumerate(islice(chosen, per_group)):
            if place and place % rack.per_epoch == 0:
                sequence.append(EPOCH)
            sequence.append(operation)
        if not sequence:
            return
        yield sequence


def torture(rack: Rack, seed: int, count: int) -> Tally:
    """Put groups through ``count`` operations; the first lost page ends it.

    :raises LostError: with the seed, and the sequence of operations
    """
    tally = Tally()
    chosen = enumerate(sequences(rack, seed, count))
    with ProcessPoolExecutor(rack.jobs) as pool:
        # Not all at once: the sequences of a long run would fill the memory.
        while batch := list(islice(chosen, 4 * rack.jobs)):
            groups = []
            for place, sequence in batch:
                mode = rack.modes[place % len(rack.modes)]
                group = pool.submit(MODES[mode], rack.setting, sequence)
                groups.append((mode, sequence, group))
            for mode, sequence, group in groups:
                try:
                    tally += group.result()
                except LostError as error:
                    pool.shutdown(wait=False, cancel_futures=True)
                    done = tally.operations + error.operations
                    told = f"{error}\nseed {seed}, {mode}, after {done} operations"
                    raise LostError(_tell(rack, told, mode, sequence)) from error
    return tally


def _tell(rack: Rack, told: str, mode: str, sequence: Sequence[Operation]) -> str:
    """Say what was lost, and by which operations."""
    if not rack.shortest:
        return told

    def loses(candidate: Sequence[Operation]) -> bool:
        try:
            MODES[mode](rack.setting, candidate)
        except LostError:
            return True
        return False

    shortest = shorten(until_lost(sequence, loses), loses)
    return f"{told}; the shortest sequence:\n  " + "\n  ".join(map(str, shortest))


# The command


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("tidemark-torture", description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tracker", default="uffd-wp")
    parser.add_argument("--mode", choices=MODES, help="how dumps are taken (default: both ways)")
    parser.add_argument("--only", default="", help="operations, beside the most common ones")
    parser.add_argument("--per-epoch", type=int, default=PER_EPOCH)
    parser.add_argument("--shorten", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def main() -> int:
    """Torture, and say what came of it."""
    options = _options()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    if options.tracker != "content" and (lacking := probe_tracker(options.tracker)):
        sys.stderr.write(f"tidemark-torture: {lacking}\n")
        return 6
    with tempfile.TemporaryDirectory() as directory:
        setting = Setting(build(Path(directory)), options.tracker)
        rack = Rack(setting, options.jobs, options.shorten)
        rack = replace(rack, per_epoch=options.per_epoch)
        if options.mode:
            rack = replace(rack, modes=(options.mode,))
        elif os.geteuid() != 0:
            # What stands at rest is read by the links of mappings.
            sys.stderr.write("tidemark-torture: not root, so no checkpoints are compared\n")
            rack = replace(rack, modes=("epochs",))
        if options.only:
            rack = replace(rack, only=tuple(options.only.split(",")))
        try:
            tally = torture(rack, seed, options.operations)
        except LostError as error:
            sys.stderr.write(f"tidemark-torture: {error}\n")
            return 1
    sys.stdout.write(tally.line(options.tracker, seed) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
