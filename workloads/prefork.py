"""Keep a pool of short-lived workers that are born, write shared pages and die.

Models a preforking server under a rough administrator: each worker writes some pages and exits, and
about every third is killed at a random moment, perhaps in the midst of a page; either way another
is born in its place. Runs until SIGTERM (or for --seconds), then ends the workers and checks every
page. It prints `ready` when the first generation is born. A freeze only makes deaths late.

Shared: one anonymous mapping. A worker's serial number and the pages it may write are equal modulo
the number of workers, so a page has one writer at a time, and may be torn by killed ones only.
Deterministic: what each worker writes and whether it is to be killed; not when it is.
"""

import argparse
import heapq
import mmap
import os
import random
import signal
import time
from collections.abc import Iterator
from functools import partial

import program
from imprint import imprint, writers
from pages import PAGE, generator, span
from processes import fork

CONDEMNED = 0.35  # the part of the workers that is killed, unless it ends first
LIFE = 0.02  # seconds within which that happens
PAUSE = 0.0003  # seconds that a worker rests after each piece of work
PIECE = PAGE // 4  # what it writes between rests
WRITTEN = 6  # pages that it writes
FINISHED, KILLED = 1, 2


def work(memory: mmap.mmap, chance: random.Random, serial: int, pages: range) -> None:
    """Write some of the pages, piece by piece."""
    for page in chance.sample(pages, min(WRITTEN, len(pages))):
        content, start = imprint(serial, page), page * PAGE
        for piece in range(0, PAGE, PIECE):
            memory[start + piece : start + piece + PIECE] = content[piece : piece + PIECE]
            time.sleep(PAUSE)


class Pool:
    """The workers that are alive, what became of the others, and the memory they write."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._seed: int = options.seed
        self._size: int = options.workers
        self._pages = range(options.pages)
        self._alive: dict[int, int] = {}  # serial numbers by process
        self._deaths: list[tuple[float, int, int]] = []  # when, whose serial number, which process
        # By serial number, of which the first are the master's own.
        self._fates: bytearray = bytearray([FINISHED]) * self._size
        self.memory = mmap.mmap(-1, options.pages * PAGE)
        for page in self._pages:
            self.memory[span(page)] = imprint(page % self._size, page)

    def begin(self) -> None:
        """Bring the first generation to life."""
        for serial in range(self._size, 2 * self._size):
            self._bear(serial)

    def patience(self) -> float | None:
        """Return in how many seconds the next worker is to be killed, if one is."""
        return max(0.0, self._deaths[0][0] - time.monotonic()) if self._deaths else None

    def tend(self) -> None:
        """Kill whose time has come, bury the dead and bring their successors to life."""
        while self._deaths and self._deaths[0][0] <= time.monotonic():
            _, serial, process = heapq.heappop(self._deaths)
            if self._alive.get(process) == serial:
                os.kill(process, signal.SIGKILL)
        for serial in self._bury(os.WNOHANG):
            self._bear(serial + self._size)

    def end(self) -> None:
        """Kill all workers and bury them."""
        for process in self._alive:
            os.kill(process, signal.SIGKILL)
        for _ in self._bury(0):
            pass

    def count(self, fate: int) -> int:
        """Return how many workers have met a fate."""
        return self._fates.count(fate, self._size)

    def check(self) -> int:
        """See that none but killed workers have torn pages, and return how many are torn."""
        torn = 0
        for page in self._pages:
            found = writers(self.memory[span(page)], page)
            if found is None or not all(self._entitled(serial, page) for serial in found):
                raise program.Damage(f"Page {page} holds what no worker wrote there.")
            later = found - {min(found)}  # they overwrote the oldest, but not all of it
            if any(self._fates[serial] != KILLED for serial in later):
                raise program.Damage(f"Page {page} is torn, but not by a worker that was killed.")
            torn += len(found) > 1
        return torn

    def _entitled(self, serial: int, page: int) -> bool:
        born = serial < len(self._fates)
        return born and serial % self._size == page % self._size

    def _bear(self, serial: int) -> None:
        chance = generator(self._seed, serial)
        own = self._pages[serial % self._size :: self._size]
        process = fork(partial(work, self.memory, chance, serial, own))
        self._alive[process] = serial
        if chance.random() < CONDEMNED:
            due = time.monotonic() + chance.random() * LIFE
            heapq.heappush(self._deaths, (due, serial, process))

    def _bury(self, flags: int) -> Iterator[int]:
        """Yield the serial numbers of workers that are dead, and note how they died."""
        while self._alive:
            process, status = os.waitpid(-1, flags)
            if not process:
                return
            serial = self._alive.pop(process)
            self._fates.extend(bytes(max(0, serial + 1 - len(self._fates))))
            self._fates[serial] = _fate(serial, status)
            yield serial


def _fate(serial: int, status: int) -> int:
    if status == 0:
        return FINISHED
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return KILLED
    raise program.Damage(f"Worker {serial} ended with wait status {status}.")


def main(options: argparse.Namespace) -> Iterator[str]:
    """Keep the pool until told to stop, check the pages and say so."""
    signals = program.Signals(options.seconds, signal.SIGCHLD)
    pool = Pool(options)
    pool.begin()
    yield "ready"
    while not signals.stop(pool.patience()):
        pool.tend()
    pool.end()
    torn = pool.check()
    finished, killed = pool.count(FINISHED), pool.count(KILLED)
    yield f"prefork: {finished} workers finished, {killed} were killed, {torn} pages are torn"


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = program.free_running(__doc__)
    parser.add_argument("--workers", type=program.positive, default=8, help="alive at a time")
    parser.add_argument("--pages", type=program.positive, default=2048, help="that they write")
    return parser.parse_args()


if __name__ == "__main__":
    program.run(main, parse())
