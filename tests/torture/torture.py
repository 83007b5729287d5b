"""Random operations on processes that share memory, and an oracle that misses nothing.

usage: torture.py [--operations N] [--seed S] [--tracker NAME] [--jobs N] [--no-shorten]

Each group of processes goes through epochs of random operations. After each epoch all content is
compared, byte by byte, with that of the epoch before: what changed must be in the dump, and what
the chain of dumps gives must be what the memory holds. The last line says what was done: it is all
that is on the standard output. A lost page ends it with the shortest sequence of operations that
was found to lose one, and exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Self

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "live")]

import oracle
from group import Group
from operations import Operation, operations
from stage import Stage

from results import pages
from tidemark.errors import KeeperError
from tidemark.image.chain import Chain, open_images
from tidemark.image.level import walk_levels
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE
from tidemark.native.probe import probe_tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from results import Epoch
    from tidemark.image.directory import Image

EPOCH = Operation("epoch")
"""Where one epoch ends and the next begins."""

PER_EPOCH = 500
PER_GROUP = 20 * PER_EPOCH


class LostError(AssertionError):
    """A page changed, and the dump does not have it."""


@dataclass
class Tally:
    """What was done, and what came of it; pages are counted once for each epoch."""

    operations: int = 0
    epochs: int = 0
    pages: int = 0
    changed: int = 0
    carried: int = 0
    lost: int = 0

    def __iadd__(self, other: Tally) -> Self:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self

    @property
    def false_positives(self) -> int:
        """Pages that were dumped, and had not changed."""
        return self.carried - self.changed

    @property
    def precision(self) -> float:
        """The share of the dumped pages that had changed."""
        return self.changed / self.carried if self.carried else 1.0

    def line(self, tracker: str, seed: int) -> str:
        """Say all of it."""
        return (
            f"torture {tracker}: {self.operations} operations, {self.epochs} epochs, "
            f"{self.pages} pages compared, {self.lost} lost, {self.false_positives} false "
            f"positives, precision {self.precision:.4f}, seed {seed}"
        )


def build(directory: Path) -> Path:
    """Compile the program of which the group is made."""
    sources = sorted((HERE.parent / "live" / "programs").glob("*.c"))
    program = directory / "actor"
    flags = ["-std=gnu11", "-O1", "-pthread"]
    subprocess.run(["cc", *flags, "-o", program, *sources], check=True)
    return program


@contextlib.contextmanager
def new_stage(program: Path) -> Iterator[Stage]:
    """Give a stage with a directory in memory; nothing of it is left behind."""
    mark = f"TIDEMARK_TEST={secrets.token_hex(8)}"
    name, _, value = mark.partition("=")
    os.environ.update({name: value, "TIDEMARK_OWNER_PID": str(os.getpid())})
    shm = Path("/dev/shm")  # noqa: S108 - memory is meant
    directory = Path(tempfile.mkdtemp(prefix="tidemark-torture-", dir=shm))
    try:
        with Stage(directory, program, mark) as stage:
            yield stage
    except KeeperError:
        sys.stderr.write((directory / "keeper.log").read_text())
        raise
    finally:
        shutil.rmtree(directory)


def put_through(program: Path, sequence: Sequence[Operation], tracker: str) -> Tally:
    """Have a new group go through a sequence of operations and epochs.

    :raises LostError: at the first page that is lost
    """
    tally = Tally(operations=sum(operation != EPOCH for operation in sequence))
    with new_stage(program) as stage:
        stage.declared = {"tracker": tracker, "timeout": 300.0}
        group = Group(stage)
        with one_epoch(stage, tally):
            pass
        for part in _epochs(sequence):
            with one_epoch(stage, tally):
                group.tend()
                for operation in part:
                    group.do(operation)
        if not stage.epochs[-1].number % 3:
            _check_restored(stage)
    return tally


def _epochs(sequence: Sequence[Operation]) -> Iterator[list[Operation]]:
    part: list[Operation] = []
    for operation in (*sequence, EPOCH):
        if operation == EPOCH:
            if part:
                yield part
            part = []
        else:
            part.append(operation)


@contextlib.contextmanager
def one_epoch(stage: Stage, tally: Tally) -> Iterator[None]:
    """Take a group through an epoch; what is done within happens in it.

    :raises LostError: when a page is lost
    """
    with stage.epoch(judged=False) as epoch:
        yield
    before = stage.epochs[-2] if len(stage.epochs) > 1 else None
    if epoch.left_out:
        raise LostError(f"epoch {epoch.number}: not in the dump at all: {epoch.left_out}")
    images = open_images(stage.path(epoch.number, "image"))
    for number, content in epoch.content.items():
        changed = oracle.changed(_content(before, number), content)
        carried = _carried(images, number)
        tally.pages += len(content)
        tally.changed += len(changed)
        tally.carried += len(carried)
        lost = changed - carried
        if lost:
            raise LostError(_describe(epoch, number, lost))
    _check_content(stage, epoch)
    tally.epochs += 1


def _content(epoch: Epoch | None, number: int) -> oracle.Content:
    return epoch.content.get(number, {}) if epoch else {}


def _carried(images: list[Image], number: int) -> set[int]:
    """Return the pages of a region that a dump has anew, as content or as zero."""
    *_, before, now = [None, *(level for _, level in walk_levels(images, number))]
    if now is None:
        return set()
    return pages(now.present | (before.content - now.content if before else Bitmap(0)))


def _check_content(stage: Stage, epoch: Epoch) -> None:
    """Check that the chain of dumps gives what the memory holds, byte by byte."""
    with Chain(stage.path(epoch.number, "image")) as chain:
        for number, content in epoch.content.items():
            region = chain.region(number)
            wrong = {
                page
                for page in pages(region.present) | content.keys()
                if region.source.read(page) != content.get(page, bytes(PAGE_SIZE))
            }
            if wrong:
                raise LostError(_describe(epoch, number, wrong))


def _describe(epoch: Epoch, number: int, pages: set[int]) -> str:
    region = epoch.regions[number]
    reasons = {reason: sorted(pages & found) for reason, found in region.reasons.items()}
    return (
        f"epoch {epoch.number}: pages {sorted(pages)[:9]} of region {number} ({region.kind}, "
        f"{region.pages} pages) changed and are not in the dump; suspects among them: {reasons}"
    )


def _check_restored(stage: Stage) -> None:
    for found in stage.verify_all():
        if found["different"] or found["missed"]:
            raise LostError(f"epoch {found['epoch']}: {found}")


# Shortening


def shorten(
    sequence: Sequence[Operation], loses: Callable[[Sequence[Operation]], bool]
) -> list[Operation]:
    """Return a sequence that still loses a page, and does not without any one of its operations.

    Zeller and Hildebrandt's delta debugging (ddmin): ever smaller parts are left out.
    """
    kept, size = list(sequence), len(sequence) // 2
    while size:
        start, shorter = 0, False
        while start < len(kept):
            without = kept[:start] + kept[start + size :]
            if loses(without):
                kept, shorter = without, True
            else:
                start += size
        if size == 1 and not shorter:
            break
        size = size if shorter and size == 1 else max(1, size // 2)
    return kept


def find_shortest(program: Path, sequence: Sequence[Operation], tracker: str) -> list[Operation]:
    """Shorten a sequence that loses a page."""

    def loses(candidate: Sequence[Operation]) -> bool:
        try:
            put_through(program, candidate, tracker)
        except LostError:
            return True
        return False

    return shorten(_until_lost(program, sequence, tracker), loses)


def _until_lost(program: Path, sequence: Sequence[Operation], tracker: str) -> list[Operation]:
    """Return the epochs up to the one that loses a page."""
    ends = [place for place, operation in enumerate(sequence) if operation == EPOCH]
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high) // 2
        try:
            put_through(program, sequence[: ends[middle]], tracker)
        except LostError:
            high = middle
        else:
            low = middle + 1
    return list(sequence[: ends[low]] if low < len(ends) else sequence)


# The command


def sequences(seed: int, count: int) -> Iterator[list[Operation]]:
    """Yield the sequence of each group, of ``count`` operations in all."""
    chosen = operations(seed, count)
    while True:
        sequence: list[Operation] = []
        for _, operation in zip(range(PER_GROUP), chosen, strict=False):
            if len(sequence) % (PER_EPOCH + 1) == PER_EPOCH:
                sequence.append(EPOCH)
            sequence.append(operation)
        if not sequence:
            return
        yield sequence


@dataclass(frozen=True)
class Rack:
    """How groups are put through: ``jobs`` of them at a time.

    ``shortest``: the shortest sequence is looked for that loses a page.
    """

    program: Path
    tracker: str
    jobs: int = 1
    shortest: bool = True


def torture(rack: Rack, seed: int, count: int) -> Tally:
    """Put groups through ``count`` operations; the first lost page ends it.

    :raises LostError: with the seed, and the sequence of operations
    """
    tally = Tally()
    chosen = sequences(seed, count)
    with ProcessPoolExecutor(rack.jobs) as pool:
        # Not all at once: the sequences of a long run would fill the memory.
        while batch := list(islice(chosen, 4 * rack.jobs)):
            groups = [pool.submit(put_through, rack.program, one, rack.tracker) for one in batch]
            for sequence, group in zip(batch, groups, strict=True):
                try:
                    tally += group.result()
                except LostError as error:
                    raise LostError(f"{error}\nseed {seed}{_steps(rack, sequence)}") from error
    return tally


def _steps(rack: Rack, sequence: Sequence[Operation]) -> str:
    if not rack.shortest:
        return ""
    shortest = find_shortest(rack.program, sequence, rack.tracker)
    return "; the shortest sequence:\n  " + "\n  ".join(map(str, shortest))


def main() -> int:
    """Torture, and say what came of it."""
    parser = argparse.ArgumentParser("tidemark-torture", description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tracker", default="uffd-wp")
    parser.add_argument("--shorten", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    if options.tracker != "content" and (lacking := probe_tracker(options.tracker)):
        sys.stderr.write(f"tidemark-torture: {lacking}\n")
        return 6
    with tempfile.TemporaryDirectory() as directory:
        try:
            rack = Rack(build(Path(directory)), options.tracker, options.jobs, options.shorten)
            tally = torture(rack, seed, options.operations)
        except LostError as error:
            sys.stderr.write(f"tidemark-torture: {error}\n")
            return 1
    sys.stdout.write(tally.line(options.tracker, seed) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
