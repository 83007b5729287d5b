"""A group of processes that share memory, and are put through operations."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

from cast import KINDS, MOST_MAPPINGS, LackingError, Member, Region, Shown
from extras import Extras
from system import PAGE, is_alive, wait_until
from verbs import find, lives, regions

if TYPE_CHECKING:
    from actors import Actor, Window
    from operations import Operation
    from stage import Stage

_PRIVATE_ANONYMOUS = 0x22


class Group:
    """The workload of a torture. Its first process stays; all others come and go.

    An operation that makes no sense at the moment, or that the kernel refuses, does nothing.
    ``lacking`` counts those for which this kernel or user lacks something.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.lacking: Counter[str] = Counter()
        self._values = itertools.count(1)
        self.members: list[Member] = [Member(stage.start(), None)]
        self.extras = Extras(stage, self.root.actor)
        self.regions: list[Region] = []
        for kind in range(len(KINDS)):
            regions.new_region(self, self.root, kind, kind + 1)
        stage.ready()

    def do(self, operation: Operation) -> None:
        """Do one operation."""
        member = self.members[operation.a % len(self.members)]
        try:
            find(operation.verb)(self, member, operation.b, operation.c)
        except TimeoutError:
            raise  # an actor that does not answer is a bug
        except LackingError as lack:
            self.lacking[str(lack)] += 1
        except OSError:
            self.forget_the_dead()

    def tend(self) -> None:
        """See to it that there is enough to do something with: a process that stays keeps some."""
        shown = {s.region for member in self.members for s in member.memory.shown}
        self.regions = [region for region in self.regions if region in shown]
        self.extras.drop_parcels(shown)
        for kind in range(len(KINDS)):
            if not any(s.region.kind == KINDS[kind] for s in self.root.memory.shown):
                while len(self.root.memory.shown) >= MOST_MAPPINGS:
                    self._unmap_oldest(self.root)
                regions.new_region(self, self.root, kind, len(self.regions) + self.value())
        while len(self.members) < 3:
            lives.fork(self, self.root, 0, 0)

    @staticmethod
    def _unmap_oldest(member: Member) -> None:
        """Unmap a mapping, be there a page behind it or not."""
        shown = member.memory.shown.pop(0)
        member.actor.unmap(shown.window)

    def settle(self) -> None:
        """Have all that is under way come to its end: nobody writes any more."""
        self.extras.settle()

    # Who is there

    def forget_the_dead(self) -> None:
        """Drop the processes that have ended."""
        self.members = [m for m in self.members if m.parent is None or is_alive(m.actor.pid)]

    def bury(self, member: Member) -> None:
        """Forget a process that ends, when its memory is gone."""
        self.members.remove(member)
        wait_until(lambda: not is_alive(member.actor.pid), "the end of a process")

    @property
    def root(self) -> Member:
        """The process that stays."""
        return self.members[0]

    def without_rings(self, parent: Member, child: Actor) -> Actor:
        """Have a child let go of its copies of rings, which are to go with the first process."""
        if parent is self.root:
            for ring in self.extras.rings():
                child.close(ring)
        return child

    # What operations have in common

    def view(self, member: Member, b: int) -> Shown | None:
        """Return a mapping that can be stored to, picked by a number."""
        shown = [s for s in member.memory.shown if s.pages()]
        return shown[b % len(shown)] if shown else None

    def value(self) -> int:
        """Return what was never stored before."""
        return next(self._values)

    def bytes(self) -> bytes:
        """Return a word that was never stored before."""
        return self.value().to_bytes(8, "little")

    def put(self, actor: Actor, shown: Shown, c: int) -> None:
        """Have an actor store something new to one page."""
        pages = shown.pages()
        actor.ask("fill", shown.window.at(pages[c % len(pages)]), 1, self.value())

    def file(self, member: Member, b: int) -> tuple[Region, int] | None:
        """Return a region of which a process has a descriptor, and that."""
        files = list(member.files.items())
        return files[b % len(files)] if files else None

    def named(self, c: int) -> Region | None:
        """Return a region that has a name in a file system."""
        named = [region for region in self.regions if region.path]
        return named[c % len(named)] if named else None

    @staticmethod
    def may_map(member: Member) -> bool:
        """Return whether a process has few enough mappings for one more."""
        return len(member.memory.shown) < MOST_MAPPINGS

    @staticmethod
    def shows(member: Member, region: Region, window: Window, *, whole: bool = False) -> None:
        """Note that a process maps part of a region."""
        member.memory.shown.append(Shown(region, window, whole))

    @staticmethod
    def lose(member: Member, shown: Shown, part: Window) -> None:
        """Note that a part of a mapping is gone."""
        member.memory.shown.remove(shown)
        member.memory.shown += shown.without(part)

    @staticmethod
    def free_address(member: Member, pages: int) -> int:
        """Return where a process maps nothing but a place that is kept free."""
        return member.actor.call("mmap", 0, pages * PAGE, 0, _PRIVATE_ANONYMOUS, -1, 0)
