"""Relax a shared grid, one row of numbers per page, in strips between barriers.

Models a solver whose work is local and moves: hot rows appear at random places, and from each of
them two fronts run over the grid in opposite directions. Only rows close behind a front change,
each into the mean of its neighbours. When the fronts have met, new hot rows appear.

Shared: one anonymous mapping. Each process writes its own strip and reads one row on either side.
Deterministic: all of it. What the grid holds after n steps depends on the seed, the number of pages
and n, and not on the number of processes.
"""

import argparse
import mmap
import random
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import program
from pages import PAGE, generator, span
from processes import Crew, Work
from steps import Steps

COLUMNS = PAGE // 8
ZONE = 4  # rows behind a front that still change
ROWS_PER_SOURCE = 1024
COMPUTE, STORE = range(2)

Row: TypeAlias = "array[float]"  # quoted: it can be subscripted since Python 3.12
Rows: TypeAlias = "Callable[[int], Row]"


@dataclass(frozen=True)
class Plan:
    """What happens to which row in which step, without the grid itself."""

    seed: int
    rows: int

    def first(self, row: int) -> Row:
        """Return what a row holds before the first step."""
        return _noise(generator(self.seed, 0, row))

    def active(self, step: int) -> set[int]:
        """Return the rows that change in a step."""
        wave, age = self._wave(step)
        distances = range(max(0, age - ZONE + 1), age + 1)
        return {
            (source + side * distance) % self.rows
            for source in self._sources(wave)
            for distance in distances
            for side in (1, -1)
        }

    def next(self, step: int, row: int, rows: Rows) -> Row:
        """Return what an active row becomes, from what all rows hold before the step."""
        wave, age = self._wave(step)
        if age == 0:
            return _noise(generator(self.seed, 1 + wave, row))
        return _mean(rows((row - 1) % self.rows), rows(row), rows((row + 1) % self.rows))

    def after(self, steps: int) -> list[Row]:
        """Return what the rows hold after so many steps, computed one after the other."""
        rows = [self.first(row) for row in range(self.rows)]
        for step in range(1, steps + 1):
            active = self.active(step)
            changed = [(row, self.next(step, row, rows.__getitem__)) for row in active]
            for row, values in changed:
                rows[row] = values
        return rows

    def _wave(self, step: int) -> tuple[int, int]:
        """Return which wave runs in a step, and for how many steps it has."""
        return divmod(step - 1, max(1, self.rows // 2))

    def _sources(self, wave: int) -> list[int]:
        count = max(1, self.rows // ROWS_PER_SOURCE)
        place = generator(self.seed, wave)
        return [place.randrange(self.rows) for _ in range(count)]


class Grid:
    """The shared rows."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.memory = mmap.mmap(-1, plan.rows * PAGE)
        for row in range(plan.rows):
            self.store(row, plan.first(row))

    def load(self, row: int) -> Row:
        """Return a copy of a row."""
        return array("d", self.memory[span(row)])

    def store(self, row: int, values: Row) -> None:
        """Overwrite a row."""
        self.memory[span(row)] = values.tobytes()

    def check(self, steps: int) -> None:
        """Compare every row with a computation that shares nothing."""
        for row, values in enumerate(self.plan.after(steps)):
            if self.memory[span(row)] != values.tobytes():
                raise program.Damage(f"Row {row} is not what {steps} steps make of it.")

    def worker(self, processes: int, number: int) -> Work:
        """Return what process `number` does in a step: compute its rows, and then store them."""
        strip = range(
            number * self.plan.rows // processes, (number + 1) * self.plan.rows // processes
        )
        changed: dict[int, Row] = {}

        def work(step: int, phase: int) -> None:
            if phase == COMPUTE:
                for row in self.plan.active(step):
                    if row in strip:
                        changed[row] = self.plan.next(step, row, self.load)
            else:
                for row, values in changed.items():
                    self.store(row, values)
                changed.clear()

        return work


def _noise(source: random.Random) -> Row:
    """Return a row of random numbers."""
    return array("d", array("H", source.randbytes(2 * COLUMNS)))


def _mean(above: Row, row: Row, below: Row) -> Row:
    """Return the mean of the four neighbours of each number; rows close on themselves."""
    left, right = row[-1:] + row[:-1], row[1:] + row[:1]
    return array(
        "d", [(a + b + c + d) / 4 for a, b, c, d in zip(above, below, left, right, strict=True)]
    )


def main(options: argparse.Namespace) -> Iterator[str]:
    """Run the steps, check the grid and say so."""
    steps = Steps(options.steps)
    grid = Grid(Plan(options.seed, options.pages))
    others = options.processes - 1
    with Crew(lambda number: grid.worker(options.processes, number), ["fork"] * others) as crew:
        for step in steps:
            crew.step(step, phases=2)
    grid.check(steps.taken)
    yield f"grid: {steps.taken} steps over {options.pages} pages, all as computed"
    if options.digest:
        yield program.digest([grid.memory[:]])


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = program.stepwise(__doc__, steps=20)
    parser.add_argument("--processes", type=program.positive, default=4, help="with the leader")
    parser.add_argument("--pages", type=program.positive, default=4096, help="rows of the grid")
    return parser.parse_args()


if __name__ == "__main__":
    program.run(main, parse())
