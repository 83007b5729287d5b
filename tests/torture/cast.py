"""Who takes part in a torture: processes, what they map, and what they hold."""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actors import Window
from system import PAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import Actor

MOST_PROCESSES = 6
MOST_REGIONS = 8
MOST_MAPPINGS = 12
MOST_HELD = 4
KINDS = ("anonymous", "memfd", "posix", "sysv")
SIZES = (1, 3, 63, 64, 65, 127, 130, 200, 1500)


class LackingError(Exception):
    """What an operation needs cannot be had of this kernel, or by this user."""


_REFUSALS = {
    errno.EACCES,
    errno.EINVAL,
    errno.ENODEV,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.EOVERFLOW,
    errno.EPERM,
}


@contextlib.contextmanager
def needing(what: str, *refusals: int) -> Iterator[None]:
    """Take a refusal for a lack of ``what``, which the last line of a run tells.

    :param refusals: further numbers of errors that mean one
    :raises LackingError: when what is done within is refused
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS.union(refusals):
            raise
        raise LackingError(f"{what} ({error.strerror})") from error


@dataclass(eq=False)
class Region:
    """One shared-memory object, ``pages`` long."""

    kind: str
    pages: int
    path: str = ""
    segment: int = -1


@dataclass(eq=False)
class Shown:
    """A mapping of a region in one process; ``whole`` while it is as it was attached."""

    region: Region
    window: Window
    whole: bool = True

    def pages(self) -> range:
        """Return the pages of the region that a store through it may go to."""
        end = min(self.window.page + self.window.count, self.region.pages)
        return range(self.window.page, max(self.window.page, end))

    def run(self, c: int, most: int) -> tuple[int, int]:
        """Return a run of at most ``most`` pages, picked by a number: address, and length."""
        pages = self.pages()
        first = pages[c % len(pages)]
        return self.window.at(first), min(most, pages.stop - first)

    def part(self, b: int, c: int) -> Window:
        """Return a part of it, picked by two numbers."""
        first = b % self.window.count
        count = 1 + c % (self.window.count - first)
        page = self.window.page + first
        return Window(self.window.address + first * PAGE, page, count)

    def without(self, part: Window) -> list[Shown]:
        """Return what is left of it when a part is gone."""
        before = part.page - self.window.page
        after = self.window.count - before - part.count
        left = []
        if before:
            kept = Window(self.window.address, self.window.page, before)
            left.append(Shown(self.region, kept, False))
        if after:
            start = part.address + part.bytes
            left.append(Shown(self.region, Window(start, part.page + part.count, after), False))
        return left


@dataclass(eq=False)
class Memory:
    """What the threads of a process, and a process that shares its memory, have in common."""

    shown: list[Shown] = field(default_factory=list)


@dataclass(frozen=True)
class Held:
    """A descriptor that stays open; ``writes`` where a mapping made of it can be stored to."""

    region: Region
    descriptor: int
    writes: bool


@dataclass(eq=False)
class Member:
    """A process of the group: the actor that does things in it, and what it holds."""

    actor: Actor
    parent: Member | None
    memory: Memory = field(default_factory=Memory)
    files: dict[Region, int] = field(default_factory=dict)
    threads: list[Actor] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)

    def copy(self, actor: Actor) -> Member:
        """Return what a child that was forked holds."""
        shown = [Shown(s.region, s.window, s.whole) for s in self.memory.shown]
        return Member(actor, self, Memory(shown), dict(self.files), held=list(self.held))


@dataclass
class Parcel:
    """A descriptor of a region that is in a Unix socket, of the first process.

    ``into``: where it is put in; ``out``: where it is taken out. ``wrapped``: what ``out`` was put
    into itself, and can be taken out of. ``name``: of the socket to which ``into`` is connected,
    and ``out`` the one that listens.
    """

    region: Region
    into: int
    out: int
    wrapped: tuple[int, int] | None = None
    name: str = ""
