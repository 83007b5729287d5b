"""Use few pages of a huge shared region, scattered all over it.

Models a program that reserves address space generously: in each step some of its pages are
rewritten, some are added, and some become all zero. Of these every other one is stored over with
zeros, as a cleared record is, and the rest are given back to the kernel with MADV_REMOVE, as freed
memory is. Pages that were emptied may come back.

Shared: one anonymous mapping without reserve. Page p is written by process p modulo their number.
Deterministic: all of it. What the region holds after n steps depends on the seed, the sizes and n,
and not on the number of processes. No work is proportional to the region's size.
"""

import argparse
import mmap
from collections.abc import Iterator
from typing import NamedTuple

import program
from pages import PAGE, generator, span, stamp
from processes import Crew, Work
from steps import Steps

MAP_NORESERVE = 0x4000  # mmap has no name for it before Python 3.12
PAGES_PER_GIB = (1 << 30) // PAGE
REWRITTEN = 32
EMPTIED = 4
ADDED = 5
REVIVED = 1


class Change(NamedTuple):
    """What a step does to one page: a new version, or none for a page that becomes empty."""

    page: int
    version: int | None


class Plan:
    """Which pages are used, at which version, and which were emptied. Each process has its own."""

    def __init__(self, seed: int, size: int, used: int) -> None:
        self._seed = seed
        self._size = size
        self.used = dict.fromkeys(generator(seed).sample(range(size), used), 0)
        self.emptied: dict[int, None] = {}  # a set that remembers its order

    def advance(self, step: int) -> list[Change]:
        """Go on by one step and return what it does."""
        chance = generator(self._seed, step)
        touched = chance.sample(list(self.used), min(len(self.used), REWRITTEN + EMPTIED))
        emptied, rewritten = touched[:EMPTIED], touched[EMPTIED:]
        revived = chance.sample(list(self.emptied), min(len(self.emptied), REVIVED))
        added = {chance.randrange(self._size) for _ in range(ADDED)} - self.used.keys()
        changes = [Change(page, step) for page in (*rewritten, *revived, *sorted(added))]
        changes += [Change(page, None) for page in emptied]
        for change in changes:
            self._note(change)
        return changes

    def content(self) -> Iterator[tuple[int, bytes]]:
        """Return what every page that was ever used must hold, in the order of the pages."""
        for page in sorted([*self.used, *self.emptied]):
            version = self.used.get(page)
            yield page, bytes(PAGE) if version is None else stamp(self._seed, page, version)

    def _note(self, change: Change) -> None:
        if change.version is None:
            del self.used[change.page]
            self.emptied[change.page] = None
        else:
            self.emptied.pop(change.page, None)
            self.used[change.page] = change.version


class Region:
    """The shared memory, and what a step does to it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._seed = options.seed
        self._processes = options.processes
        self.plan = Plan(options.seed, options.gib * PAGES_PER_GIB, options.pages)
        flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | MAP_NORESERVE
        self.memory = mmap.mmap(-1, options.gib << 30, flags=flags)
        for page, content in self.plan.content():
            self.memory[span(page)] = content

    def worker(self, number: int) -> Work:
        """Return what process `number` does in a step."""

        def work(step: int, _phase: int) -> None:
            for change in self.plan.advance(step):
                if change.page % self._processes == number:
                    self._apply(change)

        return work

    def check(self) -> None:
        """Compare every page that was ever used with what the plan says."""
        for page, content in self.plan.content():
            if self.memory[span(page)] != content:
                raise program.Damage(f"Page {page} does not hold what was last written to it.")

    def _apply(self, change: Change) -> None:
        if change.version is not None:
            self.memory[span(change.page)] = stamp(self._seed, change.page, change.version)
        elif change.page // self._processes % 2:
            self.memory[span(change.page)] = bytes(PAGE)
        else:
            self.memory.madvise(mmap.MADV_REMOVE, change.page * PAGE, PAGE)


def main(options: argparse.Namespace) -> Iterator[str]:
    """Run the steps, check the pages and say so."""
    steps = Steps(options.steps)
    region = Region(options)
    with Crew(region.worker, ["fork"] * (options.processes - 1)) as crew:
        for step in steps:
            crew.step(step)
    region.check()
    used = len(region.plan.used)
    yield f"sparse: {steps.taken} steps, {used} pages used of {options.gib} GiB, all as written"
    if options.digest:
        pages = (page for page, _ in region.plan.content())
        yield program.digest(b"%d:%b" % (page, region.memory[span(page)]) for page in pages)


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = program.stepwise(__doc__, steps=20)
    parser.add_argument("--gib", type=program.positive, default=64, help="size of the region")
    parser.add_argument("--pages", type=program.positive, default=1000, help="pages used at first")
    parser.add_argument("--processes", type=program.positive, default=2, help="with the leader")
    options = parser.parse_args()
    if options.pages > options.gib * PAGES_PER_GIB:
        parser.error("--pages is more than --gib has")
    return options


if __name__ == "__main__":
    program.run(main, parse())
