"""A group of processes that share memory, and the operations that it can be put through."""

from __future__ import annotations

import contextlib
import itertools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actors import READ_WRITE, Window
from system import PAGE, is_alive, kill, wait_until, write_across

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Actor
    from operations import Operation
    from stage import Stage

MOST_PROCESSES = 6
MOST_REGIONS = 8
MOST_MAPPINGS = 12
KINDS = ("anonymous", "memfd", "posix", "sysv")
SIZES = (1, 3, 63, 64, 65, 127, 130, 200, 1500)

_MAYMOVE, _FIXED, _DONTUNMAP = 1, 2, 4
_DONTNEED, _REMOVE, _PAGEOUT = 4, 9, 21
_KEEP_AND_PUNCH = 3
_PRIVATE_ANONYMOUS = 0x22


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


@dataclass(eq=False)
class Member:
    """A process of the group: the actor that does things in it, and what it holds."""

    actor: Actor
    parent: Member | None
    memory: Memory = field(default_factory=Memory)
    files: dict[Region, int] = field(default_factory=dict)
    threads: list[Actor] = field(default_factory=list)
    ring: int = -1

    def copy(self, actor: Actor) -> Member:
        """Return what a child that was forked holds."""
        shown = [Shown(s.region, s.window, s.whole) for s in self.memory.shown]
        return Member(actor, self, Memory(shown), dict(self.files))


class Group:
    """The workload of a torture. Its first process stays; all others come and go.

    An operation that makes no sense at the moment, or that the kernel refuses, does nothing.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._values = itertools.count(1)
        self.members: list[Member] = [Member(stage.start(), None)]
        self.outsider: Member | None = None
        self.regions: list[Region] = []
        for kind in range(len(KINDS)):
            self._new_region(self.members[0], kind, kind + 1)
        stage.ready()

    def do(self, operation: Operation) -> None:
        """Do one operation."""
        member = self.members[operation.a % len(self.members)]
        action: Callable[[Member, int, int], None] = getattr(self, f"_{operation.verb}")
        try:
            action(member, operation.b, operation.c)
        except TimeoutError:
            raise  # an actor that does not answer is a bug
        except OSError:
            self._forget_the_dead()

    def tend(self) -> None:
        """See to it that there is enough to do something with: a process that stays keeps some."""
        shown = {s.region for member in self.members for s in member.memory.shown}
        self.regions = [region for region in self.regions if region in shown]
        for kind in range(len(KINDS)):
            if not any(s.region.kind == KINDS[kind] for s in self.root.memory.shown):
                while len(self.root.memory.shown) >= MOST_MAPPINGS:
                    self._unmap(self.root, 0, 0)
                self._new_region(self.root, kind, len(self.regions) + self._value())
        while len(self.members) < 3:
            self._fork(self.root, 0, 0)

    # Who is there

    def _forget_the_dead(self) -> None:
        self.members = [m for m in self.members if m.parent is None or is_alive(m.actor.pid)]

    def _bury(self, member: Member) -> None:
        """Forget a process that ends, when its memory is gone."""
        self.members.remove(member)
        wait_until(lambda: not is_alive(member.actor.pid), "the end of a process")

    @property
    def root(self) -> Member:
        """The process that stays."""
        return self.members[0]

    def _view(self, member: Member, b: int) -> Shown | None:
        shown = [s for s in member.memory.shown if s.pages()]
        return shown[b % len(shown)] if shown else None

    def _value(self) -> int:
        return next(self._values)

    def _put(self, actor: Actor, shown: Shown, c: int) -> None:
        """Have an actor store something new to one page."""
        pages = shown.pages()
        actor.ask("fill", shown.window.at(pages[c % len(pages)]), 1, self._value())

    # Stores and loads

    def _store(self, member: Member, b: int, c: int) -> None:
        if shown := self._view(member, b):
            self._put(member.actor, shown, c)

    def _store_edge(self, member: Member, b: int, c: int) -> None:
        if shown := self._view(member, b):
            self._put(member.actor, shown, -(c % 2))

    def _fill(self, member: Member, b: int, c: int) -> None:
        if shown := self._view(member, b):
            pages = shown.pages()
            first = pages[c % len(pages)]
            count = min(8, pages.stop - first)
            member.actor.ask("fill", shown.window.at(first), count, self._value() << 8)

    def _load(self, member: Member, b: int, c: int) -> None:
        if shown := self._view(member, b):
            pages = shown.pages()
            member.actor.load(shown.window, pages[c % len(pages)])

    def _silent_store(self, member: Member, b: int, c: int) -> None:
        if shown := self._view(member, b):
            pages = shown.pages()
            page = pages[c % len(pages)]
            value = member.actor.load(shown.window, page)
            member.actor.ask("poke", shown.window.at(page), value.to_bytes(8, "little"))

    def _store_by_thread(self, member: Member, b: int, c: int) -> None:
        if member.threads and (shown := self._view(member, b)):
            self._put(member.threads[c % len(member.threads)], shown, c)

    def _read_into(self, member: Member, b: int, c: int) -> None:
        """Have the kernel store, by read(2)."""
        if shown := self._view(member, b):
            pages = shown.pages()
            source = member.actor.open("/dev/urandom", os.O_RDONLY)
            member.actor.call("read", source, shown.window.at(pages[c % len(pages)]), 16)
            member.actor.close(source)

    def _read_by_ring(self, member: Member, b: int, c: int) -> None:
        """Have the kernel store through a buffer that the first process registers with io_uring."""
        root = self.root
        shown = self._view(root, b)
        if shown is None:
            return
        if root.ring < 0:
            root.ring = root.actor.ask("uring", shown.window.address, PAGE)
            self._ring_buffer = shown
        source = root.actor.open("/dev/urandom", os.O_RDONLY)
        shown = self._ring_buffer
        if shown in root.memory.shown and shown.pages():
            root.actor.ask("uring_read", source, shown.window.address, 16, 1, 1)
        root.actor.close(source)
        del member, c

    def _close_ring(self, member: Member, b: int, c: int) -> None:
        if self.root.ring >= 0:
            self.root.actor.ask("uring_close")
            self.root.ring = -1
        del member, b, c

    # Processes

    def _fork(self, member: Member, b: int, c: int) -> None:
        if len(self.members) < MOST_PROCESSES:
            child = self._without_ring(member, member.actor.fork())
            self.members.append(member.copy(child))
        del b, c

    def _without_ring(self, parent: Member, child: Actor) -> Actor:
        """Have a child let go of its copy of the ring, which is to go with the first process."""
        if parent is self.root and parent.ring >= 0:
            child.close(parent.ring)
        return child

    def _share_space(self, member: Member, b: int, c: int) -> None:
        """Start a process in the same memory: clone(CLONE_VM)."""
        if len(self.members) < MOST_PROCESSES:
            child = member.actor.fork("clone_vm")
            if member is self.root and member.ring >= 0:
                child.close(member.ring)  # the memory is the first process's own, and stays
            self.members.append(Member(child, member, member.memory, dict(member.files)))
        del b, c

    def _thread(self, member: Member, b: int, c: int) -> None:
        if len(member.threads) < 3:
            member.threads.append(member.actor.fork("thread"))
        del b, c

    def _vfork(self, member: Member, b: int, c: int) -> None:
        """Have a child store into the memory that it borrows, and give it back."""
        if shown := self._view(member, b):
            child = member.actor.vfork()
            self._put(child, shown, c)
            child.exit()
            member.actor.end()

    def _exit(self, member: Member, b: int, c: int) -> None:
        if member.parent is not None:
            member.actor.exit()
            self._bury(member)
        del b, c

    def _kill(self, member: Member, b: int, c: int) -> None:
        if member.parent is not None:
            kill(member.actor.pid)
            self._bury(member)
        del b, c

    def _kill_all(self, member: Member, b: int, c: int) -> None:
        for other in self.members[1:]:
            kill(other.actor.pid)
        for other in self.members[1:]:
            if other in self.members:
                self._bury(other)
        del member, b, c

    def _store_and_die(self, member: Member, b: int, c: int) -> None:
        """Store, and be gone before anybody looks."""
        shown = self._view(member, b)
        if member.parent is None or shown is None:
            return
        self._put(member.actor, shown, c)
        if b % 2:
            kill(member.actor.pid)
        else:
            member.actor.exit()
        self._bury(member)

    def _store_in_short_life(self, member: Member, b: int, c: int) -> None:
        """Have a child do nothing else: it ends, is killed, or executes another program."""
        if shown := self._view(member, b):
            pages = shown.pages()
            first = pages[c % len(pages)]
            count = min(3, pages.stop - first)
            member.actor.ask("storm", shown.window.at(first), count, self._value() << 8)

    def _exec(self, member: Member, b: int, c: int) -> None:
        """Store, and become another program, which has nothing of all this any more."""
        if member.parent is None:
            return  # it is to keep what others lose
        if shown := self._view(member, b):
            self._put(member.actor, shown, c)
        successor = member.actor.execute()
        self.members[self.members.index(member)] = Member(successor, member.parent)

    # Mappings

    @staticmethod
    def _shows(member: Member, region: Region, window: Window, *, whole: bool = False) -> None:
        member.memory.shown.append(Shown(region, window, whole))

    def _may_map(self, member: Member) -> bool:
        return len(member.memory.shown) < MOST_MAPPINGS

    def _file(self, member: Member, b: int) -> tuple[Region, int] | None:
        files = list(member.files.items())
        return files[b % len(files)] if files else None

    def _map_again(self, member: Member, b: int, c: int) -> None:
        if self._may_map(member) and (held := self._file(member, b)):
            region, descriptor = held
            self._shows(member, region, member.actor.map(descriptor, max(1, region.pages)))
        del c

    def _map_part(self, member: Member, b: int, c: int) -> None:
        if self._may_map(member) and (held := self._file(member, b)):
            region, descriptor = held
            first = c % max(1, region.pages)
            count = 1 + (b // 7) % max(1, region.pages - first)
            self._shows(member, region, member.actor.map(descriptor, count, first))

    def _store_in_brief_mapping(self, member: Member, b: int, c: int) -> None:
        if held := self._file(member, b):
            region, descriptor = held
            if region.pages:
                page = c % region.pages
                brief = member.actor.map(descriptor, 1, page)
                member.actor.ask("fill", brief.address, 1, self._value())
                member.actor.unmap(brief)

    def _lose(self, member: Member, shown: Shown, part: Window) -> None:
        member.memory.shown.remove(shown)
        member.memory.shown += shown.without(part)

    def _unmap(self, member: Member, b: int, c: int) -> None:
        shown = self._view(member, b)
        if shown and len(member.memory.shown) > 1:
            member.actor.unmap(shown.window)
            member.memory.shown.remove(shown)
        del c

    def _unmap_part(self, member: Member, b: int, c: int) -> None:
        if (shown := self._view(member, b)) and len(member.memory.shown) > 1:
            part = shown.part(c, b)
            member.actor.unmap(part)
            self._lose(member, shown, part)

    def _store_and_unmap(self, member: Member, b: int, c: int) -> None:
        if (shown := self._view(member, b)) and len(member.memory.shown) > 1:
            self._put(member.actor, shown, c)
            self._unmap_part(member, b, c)

    def _map_over(self, member: Member, b: int, c: int) -> None:
        """Store, and map something else in its place."""
        shown, held = self._view(member, b), self._file(member, c)
        if shown is None or held is None or not held[0].pages:
            return
        self._put(member.actor, shown, c)
        part = shown.part(c, b)
        region, descriptor = held
        first = c % region.pages
        window = member.actor.map(descriptor, part.count, first, address=part.address)
        self._lose(member, shown, part)
        self._shows(member, region, window)

    def _free_address(self, member: Member, pages: int) -> int:
        return member.actor.call("mmap", 0, pages * PAGE, 0, _PRIVATE_ANONYMOUS, -1, 0)

    def _move(self, member: Member, b: int, c: int) -> None:
        if shown := self._view(member, b):
            self._put(member.actor, shown, c)
            self._move_window(member, shown, shown.window)

    def _move_part(self, member: Member, b: int, c: int) -> None:
        if shown := self._view(member, b):
            self._move_window(member, shown, shown.part(c, b))

    def _move_window(self, member: Member, shown: Shown, part: Window) -> None:
        there = self._free_address(member, part.count)
        flags = _MAYMOVE | _FIXED
        address = member.actor.call("mremap", part.address, part.bytes, part.bytes, flags, there)
        self._lose(member, shown, part)
        self._shows(member, shown.region, Window(address, part.page, part.count))

    def _leave_behind(self, member: Member, b: int, c: int) -> None:
        """Move a mapping, and keep it where it was, too: MREMAP_DONTUNMAP."""
        shown = self._view(member, b)
        if shown and self._may_map(member):
            self._put(member.actor, shown, c)
            window, flags = shown.window, _MAYMOVE | _DONTUNMAP
            address = member.actor.call(
                "mremap", window.address, window.bytes, window.bytes, flags, 0
            )
            self._shows(member, shown.region, Window(address, window.page, window.count))

    def _grow_mapping(self, member: Member, b: int, c: int) -> None:
        if shown := self._view(member, b):
            self._put(member.actor, shown, c)
            grown = member.actor.remap(shown.window, shown.window.count + 1 + c % 9, _MAYMOVE)
            shown.window, shown.whole = grown, False
            self._put(member.actor, shown, b)

    def _shrink_mapping(self, member: Member, b: int, c: int) -> None:
        shown = self._view(member, b)
        if shown and shown.window.count > 1:
            self._put(member.actor, shown, c)
            count = 1 + c % (shown.window.count - 1)
            shown.window, shown.whole = member.actor.remap(shown.window, count, _MAYMOVE), False

    def _map_with_room(self, member: Member, b: int, c: int) -> None:
        """Map the beginning of a region where the rest of it would find room, too."""
        if self._may_map(member) and (held := self._file(member, b)):
            region, descriptor = held
            address = self._free_address(member, region.pages)
            member.actor.call("munmap", address, region.pages * PAGE)
            count = 1 + c % max(1, region.pages - 1)
            self._shows(member, region, member.actor.map(descriptor, count, address=address))

    def _stretch(self, member: Member, b: int, c: int) -> None:
        """Make a mapping longer where it stands, store behind its end, and shorten it again."""
        for shown in member.memory.shown:
            window = shown.window
            room = shown.region.pages - window.page - window.count
            if room <= 0:
                continue
            with contextlib.suppress(OSError):  # something else stands there
                longer = member.actor.remap(window, window.count + room, 0)
                page = window.page + window.count + c % room
                member.actor.ask("fill", longer.at(page), 1, self._value())
                member.actor.remap(longer, window.count, 0)
        del b

    def _double(self, member: Member, b: int, c: int) -> None:
        """Map the same a second time, with an old length of nothing."""
        shown = self._view(member, b)
        if shown and self._may_map(member):
            second = member.actor.remap(shown.window, shown.window.count, _MAYMOVE, old=0)
            self._shows(member, shown.region, second)
            self._put(member.actor, member.memory.shown[-1], c)
            if c % 2:
                member.actor.unmap(second)
                member.memory.shown.pop()

    def _protect_and_back(self, member: Member, b: int, c: int) -> None:
        if shown := self._view(member, b):
            self._put(member.actor, shown, c)
            member.actor.protect(shown.window, c % 2)
            member.actor.protect(shown.window, READ_WRITE)
            self._put(member.actor, shown, b)

    def _detach_and_attach(self, member: Member, b: int, c: int) -> None:
        segments = [s for s in member.memory.shown if s.region.kind == "sysv" and s.whole]
        if not segments:
            return
        shown = segments[b % len(segments)]
        again = member.actor.call("shmat", shown.region.segment, 0, 0)
        self._put(member.actor, shown, c)
        member.actor.call("shmdt", shown.window.address)
        shown.window = Window(again, 0, shown.region.pages)

    def _advise(self, member: Member, b: int, c: int, advice: int) -> None:
        if shown := self._view(member, b):
            self._put(member.actor, shown, c)
            part = shown.part(c, b % 5)
            member.actor.call("madvise", part.address, part.bytes, advice)

    def _give_up_pages(self, member: Member, b: int, c: int) -> None:
        self._advise(member, b, c, _DONTNEED)

    def _remove_pages(self, member: Member, b: int, c: int) -> None:
        self._advise(member, b, c, _REMOVE)

    def _remove_and_load(self, member: Member, b: int, c: int) -> None:
        """Give a page back, and have all who map it read it: it is there again, all zero."""
        shown = self._view(member, b)
        if shown is None:
            return
        pages = shown.pages()
        page = pages[c % len(pages)]
        member.actor.call("madvise", shown.window.at(page), PAGE, _REMOVE)
        for other in self.members:
            for view in other.memory.shown:
                if view.region is shown.region and page in view.pages():
                    other.actor.load(view.window, page)

    def _page_out(self, member: Member, b: int, c: int) -> None:
        self._advise(member, b, c, _PAGEOUT)

    # Descriptors

    def _punch(self, member: Member, b: int, c: int) -> None:
        if (held := self._file(member, b)) and held[0].pages:
            first = c % held[0].pages
            member.actor.call("fallocate", held[1], _KEEP_AND_PUNCH, first * PAGE, 3 * PAGE)

    def _truncate(self, member: Member, b: int, c: int) -> None:
        """Shorten an object, and lengthen it again, perhaps beyond what it was."""
        if held := self._file(member, b):
            region, descriptor = held
            if region.pages > 1:
                member.actor.truncate(descriptor, c % region.pages)
                member.actor.truncate(descriptor, region.pages + c % 3)
                region.pages += c % 3

    def _pwrite(self, member: Member, b: int, c: int) -> None:
        if (held := self._file(member, b)) and held[0].pages:
            member.actor.pwrite(held[1], c % held[0].pages)

    def _close(self, member: Member, b: int, c: int) -> None:
        if held := self._file(member, b):
            member.actor.close(held[1])
            del member.files[held[0]]
        del c

    def _open(self, member: Member, b: int, c: int) -> None:
        region = self._named(c)
        if region and region not in member.files:
            member.files[region] = member.actor.open(region.path)
        del b

    def _named(self, c: int) -> Region | None:
        named = [region for region in self.regions if region.path]
        return named[c % len(named)] if named else None

    def _join_by_name(self, member: Member, b: int, c: int) -> None:
        """Map an object that it may never have had, and store to it."""
        region = self._named(c)
        if region and region.pages and self._may_map(member):
            descriptor = member.actor.open(region.path)
            first = b % region.pages
            window = member.actor.map(descriptor, region.pages - first, first)
            member.actor.close(descriptor)
            self._shows(member, region, window)
            self._put(member.actor, member.memory.shown[-1], c)

    # From outside

    def _write_from_outside(self, member: Member, b: int, c: int) -> None:
        if shown := self._view(member, b):
            pages = shown.pages()
            address = shown.window.at(pages[c % len(pages)])
            self._stage.write_memory(member.actor.pid, address, self._bytes())

    def _copy_from_outside(self, member: Member, b: int, c: int) -> None:
        if shown := self._view(member, b):
            pages = shown.pages()
            address = shown.window.at(pages[c % len(pages)])
            write_across(member.actor.pid, address, self._bytes())

    def _bytes(self) -> bytes:
        return self._value().to_bytes(8, "little")

    def _outsider_maps(self, member: Member, b: int, c: int) -> None:
        region = self._named(c)
        if region is None or not region.pages:
            return
        if self.outsider is None:
            self.outsider = Member(self._stage.program(), None)
        actor = self.outsider.actor
        descriptor = actor.open(region.path)
        self._shows(self.outsider, region, actor.map(descriptor, region.pages))
        actor.close(descriptor)
        del member, b

    def _outsider_stores(self, member: Member, b: int, c: int) -> None:
        if self.outsider and (shown := self._view(self.outsider, b)):
            self._put(self.outsider.actor, shown, c)
        del member

    def _outsider_leaves(self, member: Member, b: int, c: int) -> None:
        if self.outsider:
            for shown in self.outsider.memory.shown:
                self.outsider.actor.unmap(shown.window)
            self.outsider.memory.shown.clear()
        del member, b, c

    # Regions

    def _new_region(self, member: Member, b: int, c: int) -> None:
        if len(self.regions) >= MOST_REGIONS or not self._may_map(member):
            return
        kind, pages = KINDS[b % len(KINDS)], SIZES[c % len(SIZES)]
        region = Region(kind, pages)
        actor = member.actor
        if kind == "anonymous":
            window = actor.anonymous(pages)
        elif kind == "sysv":
            region.segment = actor.segment(pages)
            window = actor.attach_segment(region.segment, pages)
        else:
            if kind == "posix":
                region.path = self._stage.shm_path()
            made = actor.file(region.path, pages) if region.path else actor.memfd(pages)
            member.files[region] = made
            window = actor.map(made, pages)
        self.regions.append(region)
        self._shows(member, region, window, whole=True)
        actor.ask("fill", window.address, min(64, max(1, pages // 2)), self._value() << 8)

    def _forget_region(self, member: Member, b: int, c: int) -> None:
        """Have everybody unmap a region and close it: there is nothing left of it."""
        if len(self.regions) < 2:
            return
        region = self.regions[b % len(self.regions)]
        if any(all(shown.region is region for shown in m.memory.shown) for m in self.members):
            return
        for each in self.members:
            for shown in [s for s in each.memory.shown if s.region is region]:
                each.actor.unmap(shown.window)
                each.memory.shown.remove(shown)
            if region in each.files:
                each.actor.close(each.files.pop(region))
        self.regions.remove(region)
        del member, c
