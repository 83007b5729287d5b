"""Pass frames through multiprocessing.shared_memory, as a Python pipeline does.

Models a producer and its workers: in each step the leader writes a frame into a ring, and each
worker translates its share of the frame into a second ring. All workers but the last are forked;
the last is a fresh interpreter (the `spawn` method), so it maps the object at another address.

Shared: one SharedMemory object, made by the leader and attached to by its name, which is removed
before the first step. Python's resource tracker, a process of its own, never maps it; it removes
the name if the leader is killed before it could.
Deterministic: all of it. What the object holds after n steps depends on the options and n.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.shared_memory import SharedMemory
from typing import cast

import program
from pages import PAGE, generator, span
from processes import Crew, Method, Work
from steps import Steps

PRODUCE, TRANSLATE = range(2)


@dataclass(frozen=True)
class Rings:
    """Where the frames of each step lie, and what they hold."""

    seed: int
    frames: int
    pages: int  # of a frame

    @property
    def size(self) -> int:
        """The bytes of both rings."""
        return 2 * self.frames * self.pages * PAGE

    def places(self, step: int) -> list[tuple[int, int]]:
        """Return the pages of a step's frame: in the first ring, and translated in the second."""
        first = step % self.frames * self.pages
        return [(first + n, (self.frames * self.pages) + first + n) for n in range(self.pages)]

    def frame(self, step: int) -> list[bytes]:
        """Return the frame that is produced in a step."""
        source = generator(self.seed, step)
        return [source.randbytes(PAGE) for _ in range(self.pages)]

    def table(self) -> bytes:
        """Return what each byte is translated into."""
        return bytes(generator(self.seed).sample(range(256), 256))


def start(rings: Rings, name: str, workers: int, number: int) -> Work:
    """Attach to the object by its name and return what this process does in a step."""
    memory = SharedMemory(name)
    table = rings.table()

    def work(step: int, phase: int) -> None:
        places, view = rings.places(step), _view(memory)
        if number == 0 and phase == PRODUCE:
            for (page, _), content in zip(places, rings.frame(step), strict=True):
                view[span(page)] = content
        if number > 0 and phase == TRANSLATE:
            for page, translated in places[number - 1 :: workers]:
                view[span(translated)] = bytes(view[span(page)]).translate(table)

    return work


def check(rings: Rings, view: memoryview, steps: int) -> None:
    """Compare the frames that the rings still hold with what they must be."""
    table = rings.table()
    for step in range(max(1, steps - rings.frames + 1), steps + 1):
        for (page, translated), content in zip(rings.places(step), rings.frame(step), strict=True):
            if view[span(page)] != content:
                raise program.Damage(f"Page {page} is not of the frame of step {step}.")
            if view[span(translated)] != content.translate(table):
                raise program.Damage(f"Page {translated} is not the translation of page {page}.")


def _view(memory: SharedMemory) -> memoryview:
    return cast("memoryview", memory.buf)  # it is None once the object is closed


def main(options: argparse.Namespace) -> Iterator[str]:
    """Run the steps, check the frames and say so."""
    steps = Steps(options.steps)
    rings = Rings(options.seed, options.frames, options.pages)
    memory = SharedMemory(create=True, size=rings.size)
    try:
        begin = partial(start, rings, memory.name, options.workers)
        methods: list[Method] = ["fork"] * (options.workers - 1)
        crew = Crew(begin, [*methods, "spawn"])
    finally:
        memory.unlink()  # all are attached
    with crew:
        for step in steps:
            crew.step(step, phases=2)
    check(rings, _view(memory), steps.taken)
    yield f"pyshm: {steps.taken} steps through {options.frames} frames, all as produced"
    if options.digest:
        yield program.digest([bytes(_view(memory))])


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = program.stepwise(__doc__, steps=20)
    parser.add_argument("--workers", type=program.positive, default=3, help="the last is spawned")
    parser.add_argument("--frames", type=program.positive, default=16, help="frames of a ring")
    parser.add_argument("--pages", type=program.positive, default=16, help="pages of a frame")
    return parser.parse_args()


if __name__ == "__main__":
    program.run(main, parse())
