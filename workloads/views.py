"""Map changing parts of a growing shared object in several processes.

Models programs that share a file-like object and look at it through windows: process 0 makes the
object grow and fills what is new through its descriptor; process 1 has two mappings that overlap;
the roamers write through a window, unmap it, map another and write through that, all within one
step; the last process only reads, and checks every page that it sees.

Shared: a memfd, and a POSIX object that is opened by name and unlinked before the first step. All
descriptors stay open. Page p is written by writer p modulo their number.
Deterministic: all of it. What the objects hold after n steps depends on the options and n.
"""

import argparse
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import program
from pages import PAGE, sound, span, stamp
from processes import Crew, Work
from steps import Steps
from windows import BOARD, LEADER, PAIR, Plan, View

GROW, WRITE, READ = range(3)
BOARD_FIRST = 1 << 32  # what the board's pages are numbered from, so that no two pages are alike


class Objects:
    """The shared objects, open in this process."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.pages = os.memfd_create("tidemark-views")
        self.fill(range(plan.pages), 0)
        self.path = Path(f"/dev/shm/tidemark-views-{os.getpid()}")  # noqa: S108 - shm_open's place
        self.board = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        for page in range(BOARD):
            os.pwrite(self.board, stamp(plan.seed, BOARD_FIRST + page, 0), page * PAGE)

    def fill(self, pages: range, version: int) -> None:
        """Make the object end with these new pages and write them through the descriptor."""
        os.ftruncate(self.pages, pages.stop * PAGE)
        for page in pages:
            os.pwrite(self.pages, stamp(self.plan.seed, page, version), page * PAGE)

    def worker(self, number: int) -> Work:
        """Return what process `number` does in a step."""
        if number == self.plan.reader:
            return Reader(self)
        return Writer(self, number)

    def check(self, steps: int) -> None:
        """Compare both objects, read through their descriptors, with what the plan says."""
        pages, board = self.plan.content(steps)
        for page, version in enumerate(pages):
            if os.pread(self.pages, PAGE, page * PAGE) != stamp(self.plan.seed, page, version):
                raise program.Damage(f"Page {page} is not that of step {version}.")
        for page, version in enumerate(board):
            content = stamp(self.plan.seed, BOARD_FIRST + page, version)
            if os.pread(self.board, PAGE, page * PAGE) != content:
                raise program.Damage(f"Page {page} of the board is not that of step {version}.")

    def content(self) -> Iterator[bytes]:
        """Return all that both objects hold."""
        for descriptor in (self.pages, self.board):
            yield os.pread(descriptor, os.fstat(descriptor).st_size, 0)


class Writer:
    """A process that writes through its views; the leader makes the object grow, too."""

    def __init__(self, objects: Objects, number: int) -> None:
        self._objects, self._number = objects, number
        self._maps: dict[View, mmap.mmap] = {}
        self._remap(0)
        self._board: mmap.mmap | None = None
        if number in (PAIR, PAIR + 1):
            self._board = mmap.mmap(os.open(objects.path, os.O_RDWR), BOARD * PAGE)

    def __call__(self, step: int, phase: int) -> None:
        """Do one phase of a step."""
        plan = self._objects.plan
        if phase == GROW and self._number == LEADER:
            self._objects.fill(range(plan.size(step - 1), plan.size(step)), step)
        if phase == WRITE:
            self._write(step)  # what is written here may be unmapped at once
            self._remap(step)
            self._write(step)
            self._compare()
            self._post(step)

    def _remap(self, step: int) -> None:
        views = self._objects.plan.views(self._number, step)
        for view in self._maps.keys() - set(views):
            self._maps.pop(view).close()
        for view in views:
            if view not in self._maps:
                size, offset = view.length * PAGE, view.first * PAGE
                self._maps[view] = mmap.mmap(self._objects.pages, size, offset=offset)

    def _write(self, step: int) -> None:
        plan = self._objects.plan
        for view, memory in self._maps.items():
            for page in plan.written(self._number, step, view):
                memory[span(page - view.first)] = stamp(plan.seed, page, step)

    def _compare(self) -> None:
        """See that own pages mapped twice are the same through both mappings."""
        seen: dict[int, bytes] = {}
        for view, memory in self._maps.items():
            for page in self._objects.plan.own(self._number, view):
                content = memory[span(page - view.first)]
                if seen.setdefault(page, content) != content:
                    raise program.Damage(f"Page {page} differs between two mappings.")

    def _post(self, step: int) -> None:
        if self._board is not None:
            plan = self._objects.plan
            page = plan.posted(self._number, step)
            self._board[span(page)] = stamp(plan.seed, BOARD_FIRST + page, step)


class Reader:
    """The process that maps without leave to write and checks the sums of what it sees."""

    def __init__(self, objects: Objects) -> None:
        self._plan, self._pages = objects.plan, objects.pages
        board = os.open(objects.path, os.O_RDONLY)
        self._board = mmap.mmap(board, BOARD * PAGE, prot=mmap.PROT_READ)
        self._map(0)

    def __call__(self, step: int, phase: int) -> None:
        """Do one phase of a step."""
        if phase != READ:
            return
        self._memory.close()
        self._map(step)
        for page in self._view.pages:
            if not sound(self._memory[span(page - self._view.first)], page):
                raise program.Damage(f"Page {page} has a wrong sum.")
        for page in range(BOARD):
            if not sound(self._board[span(page)], BOARD_FIRST + page):
                raise program.Damage(f"Page {page} of the board has a wrong sum.")

    def _map(self, step: int) -> None:
        (self._view,) = self._plan.views(self._plan.reader, step)
        size, offset = self._view.length * PAGE, self._view.first * PAGE
        self._memory = mmap.mmap(self._pages, size, prot=mmap.PROT_READ, offset=offset)


def main(options: argparse.Namespace) -> Iterator[str]:
    """Run the steps, check both objects and say so."""
    steps = Steps(options.steps)
    plan = Plan(options.seed, options.pages, options.roamers)
    objects = Objects(plan)
    try:
        crew = Crew(objects.worker, ["fork"] * plan.reader)
    finally:
        objects.path.unlink()  # all have it open
    with crew:
        for step in steps:
            crew.step(step, phases=3)
    objects.check(steps.taken)
    yield f"views: {steps.taken} steps, {plan.size(steps.taken)} pages in the end, all as written"
    if options.digest:
        yield program.digest(objects.content())


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = program.stepwise(__doc__, steps=20)
    parser.add_argument("--pages", type=program.positive, default=256, help="pages at first")
    parser.add_argument("--roamers", type=program.positive, default=2, help="moving windows")
    options = parser.parse_args()
    if options.pages < 4:
        parser.error("--pages must be at least 4: the windows are quarters of them")
    return options


if __name__ == "__main__":
    program.run(main, parse())
