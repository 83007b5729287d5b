"""Who maps and writes what in which step of views.py, without the objects themselves."""

from dataclasses import dataclass
from typing import NamedTuple

from pages import generator

LEADER, PAIR = range(2)  # and then the roamers, and then the reader
GROWTH = 4  # pages, in every other step
EVERY = 4  # a writer writes one in so many of its pages per step
BOARD = 16  # pages of the second object


class View(NamedTuple):
    """A part of the object that a process maps."""

    first: int
    length: int

    @property
    def pages(self) -> range:
        """The pages of the object that are seen through this view."""
        return range(self.first, self.first + self.length)


@dataclass(frozen=True)
class Plan:
    """The parts of all processes, as functions of the step."""

    seed: int
    pages: int
    roamers: int

    @property
    def reader(self) -> int:
        """The number of the process that only reads."""
        return PAIR + self.roamers + 1

    def size(self, step: int) -> int:
        """Return how many pages the object has after a step."""
        return self.pages + step // 2 * GROWTH

    def views(self, process: int, step: int) -> list[View]:
        """Return what a process has mapped after a step."""
        quarter, size = self.pages // 4, self.size(step)
        if process == LEADER:
            return [View(0, quarter)]
        if process == PAIR:
            return [View(quarter, 2 * quarter), View(2 * quarter + step // 3 % quarter, quarter)]
        if process == self.reader:
            skipped = step % quarter
            return [View(skipped, size - skipped)]
        place = generator(self.seed, step, process)
        return [View(place.randrange(size - quarter + 1), quarter)]

    def own(self, process: int, view: View) -> list[int]:
        """Return the pages of a view that no other process may write."""
        return [page for page in view.pages if page % self.reader == process]

    def written(self, process: int, step: int, view: View) -> list[int]:
        """Return the pages that a process writes through a view in a step."""
        turn = step % EVERY
        return [page for page in self.own(process, view) if page // self.reader % EVERY == turn]

    def posted(self, process: int, step: int) -> int:
        """Return the page of the board that a process writes in a step."""
        return (2 * step + process) % BOARD

    def content(self, steps: int) -> tuple[list[int], list[int]]:
        """Return the version of each page of the object, and of the board, after so many steps."""
        pages, board = [0] * self.pages, [0] * BOARD
        for step in range(1, steps + 1):
            pages += [step] * (self.size(step) - len(pages))
            for process in range(self.reader):
                for view in self.views(process, step - 1) + self.views(process, step):
                    for page in self.written(process, step, view):
                        pages[page] = step
            for process in (PAIR, PAIR + 1):
                board[self.posted(process, step)] = step
        return pages, board
