"""What becomes of each kind of write, with each tracker: the cases, each of them a test.

usage: guarantees.py [--check]

Writes docs/guarantees.md, or checks that it is as it would be written.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from actors import (
    AT_FDCWD,
    CLONE_A_THREAD,
    CLONE_PARENT,
    CLONE_UNTRACED,
    CLONE_VFORK,
    CLONE_VM,
    SIGCHLD,
    Window,
)
from cgroup import new_cgroup, require_swap, swapped_out
from system import PAGE, is_alive, kill, shows, state, wait_until, write_across

from tidemark.keeper.births import Births

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actors import Actor
    from stage import Stage

PAGES = 32
EXACT, SETTLED, FULL = "exact", "settled", "full"
UNREACHED, REFUSED = "not saved: nobody maps it any more", "refused"
UNREPORTED = "lost, as nobody reports births"
TRACKERS = ("uffd-wp", "soft-dirty", "content")
USER = "as an ordinary user"

_MAYMOVE, _FIXED, _DONTUNMAP = 1, 2, 4
_DONTNEED, _REMOVE, _HUGEPAGE, _PAGEOUT = 4, 9, 14, 21
_KEEP_AND_PUNCH = 3
_PRIVATE = 0x22
_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Outcome:
    """What a tracker makes of a case: ``reasons`` are those for which pages are suspect."""

    kind: str
    reasons: frozenset[str] = frozenset()
    perhaps: frozenset[str] = frozenset()
    """Reasons that it has besides on some kernels, which see more than is needed."""
    testified: Outcome | None = None
    """What it is instead where the kernel testifies to what is done to shared memory."""

    def __str__(self) -> str:
        if self.testified:
            return (
                f"{self.testified} where the kernel testifies, else {replace(self, testified=None)}"
            )
        if self.perhaps:
            return f"exact, or by content ({', '.join(sorted(self.perhaps))})"
        if self.kind != SETTLED:
            return self.kind
        return f"by content ({', '.join(sorted(self.reasons))})"


def settled(*reasons: str) -> Outcome:
    """Return the outcome of pages that are settled by content."""
    return Outcome(SETTLED, frozenset(reasons))


exact, full, refused = Outcome(EXACT), Outcome(FULL), Outcome(REFUSED)
unreached = Outcome(UNREACHED)
"""What becomes of pages of an object without a name that no process maps any more: only root could
open the object itself. A mapping that shows them again is a new one, and settled by content."""

unreported = Outcome(UNREPORTED)
"""What becomes of a store by a process that has ended, and that no kernel tells a user of."""

exact_or_touched = Outcome(EXACT, perhaps=frozenset({"touched"}))
"""Until Linux 6.13 inotify(7) reports MADV_REMOVE, which is fallocate(2) within the kernel."""

exact_or_untracked = Outcome(EXACT, perhaps=frozenset({"untracked"}))
"""Before Linux 6.4 nobody is told of Syscall User Dispatch, and here it lets our calls pass."""

descriptor_unless_exact = replace(settled("descriptor"), testified=exact)
descriptor_unless_touched = replace(settled("descriptor"), testified=settled("touched"))

reclaimed = settled("reclaimed")
unsure = settled("unsure")
"""What soft-dirty makes of page table entries that are empty: they may have been written."""


class Scene:
    """A workload with one region full of data, which a case sets up and then writes to."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.leader: Actor = stage.start()
        self.path = ""
        self.handle = -1
        self.window = Window(0, 0, 0)

    def share(self, kind: str = "anonymous") -> Window:
        """Have the leader share a region; ``handle`` is its descriptor, or a segment's id."""
        leader = self.leader
        if kind == "anonymous":
            self.window = leader.anonymous(PAGES)
        elif kind == "sysv":
            self.handle = leader.segment(PAGES)
            self.window = leader.attach_segment(self.handle, PAGES)
        else:
            self.path = self.stage.shm_path() if kind == "posix" else ""
            made = leader.file(self.path, PAGES) if self.path else leader.memfd(PAGES)
            self.handle, self.window = made, leader.map(made, PAGES)
        leader.fill(self.window)
        return self.window

    def stranger(self) -> Actor:
        """Start a process outside of the workload, of the same user."""
        return self.stage.program(prefix=self.stage.user)

    def free_address(self, pages: int) -> int:
        """Return where a mapping can be made that has room to grow to ``pages``."""
        address = self.leader.call("mmap", 0, pages * PAGE, 0, _PRIVATE, -1, 0)
        self.leader.call("munmap", address, pages * PAGE)
        return address

    def part(self, first: int, count: int) -> Window:
        """Return a part of the mapping."""
        return Window(self.window.at(first), first, count)


Plot = "Callable[[Scene], Iterator[None]]"


@dataclass(frozen=True)
class Case:
    """One way to write. ``plot`` sets it up, yields, and then does it, within an epoch."""

    name: str
    title: str
    plot: Callable[[Scene], Iterator[None]]
    outcomes: dict[str, Outcome]
    """By tracker, and by ``USER`` for an ordinary user's programs, with uffd-wp."""


CASES: list[Case] = []


def case(
    title: str, uffd_wp: Outcome, soft_dirty: Outcome | None = None, user: Outcome | None = None
) -> Callable[[Callable[[Scene], Iterator[None]]], Callable[[Scene], Iterator[None]]]:
    """Register a case with what the trackers make of it; `content` compares everything.

    :param soft_dirty: where it is not what uffd-wp makes of it
    :param user: as an ordinary user, with uffd-wp; where it is not what it is as root
    """

    def register(plot: Callable[[Scene], Iterator[None]]) -> Callable[[Scene], Iterator[None]]:
        content = full if uffd_wp is full else settled("content")
        outcomes = {"uffd-wp": uffd_wp, "soft-dirty": soft_dirty or uffd_wp, "content": content}
        outcomes[USER] = user or uffd_wp
        CASES.append(Case(plot.__name__, title, plot, outcomes))
        return plot

    return register


# Stores


@case("a store", exact)
def store(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.leader.store(window, 0, 7, PAGES - 1)


@case("a store of what is there already", exact)
def silent_store(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    value = scene.leader.load(window, 5)
    scene.leader.ask("poke", window.at(5), struct.pack("<Q", value))


@case("a store to a page that held nothing", exact)
def first_store(scene: Scene) -> Iterator[None]:
    scene.share()
    window = scene.leader.anonymous(4096)
    scene.leader.store(window, 3)
    yield
    scene.leader.store(window, 3000)


@case("read(2) into a page", exact)
def kernel_store(scene: Scene) -> Iterator[None]:
    window = scene.share()
    source = scene.leader.open("/dev/urandom", 0)
    yield
    assert scene.leader.call("read", source, window.at(9), 100) == 100


@case("a store through a second mapping of the process", exact, unsure)
def second_mapping(scene: Scene) -> Iterator[None]:
    scene.share("posix")
    second = scene.leader.map(scene.handle, 8, page=8)
    scene.leader.close(scene.handle)
    yield
    scene.leader.store(second, 9)


@case("threads that store while others fork", exact, unsure)
def threads_and_forks(scene: Scene) -> Iterator[None]:
    window = scene.share()
    threads = [scene.leader.fork("thread") for _ in range(2)]
    yield
    children = []
    for page in range(6):
        threads[0].begin("fill", window.at(2 * page), 1, 1000 + page)
        children.append(scene.leader.fork())
        threads[0].end()
        threads[1].store(window, 2 * page + 1)
        children[-1].store(window, 20 + page)


# Processes


@case("a store by a child that is forked within the epoch", exact, unsure)
def fork(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.leader.fork().store(window, 4)


@case("a store by a child of vfork", exact)
def vfork(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    child = scene.leader.vfork()
    child.store(window, 4)
    child.exit()
    scene.leader.end()


@case("a store by a process in the same memory (CLONE_VM)", exact)
def clone_vm(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.leader.fork("clone_vm").store(window, 4)


@case("a store by a process that exits", exact)
def exit_of_a_process(scene: Scene) -> Iterator[None]:
    window = scene.share()
    child = scene.leader.fork()
    yield
    child.store(window, 4)
    child.exit()
    scene.leader.reap(child)


@case("a store by a process that is killed (SIGKILL)", exact)
def kill_of_a_process(scene: Scene) -> Iterator[None]:
    window = scene.share()
    child = scene.leader.fork()
    yield
    child.store(window, 4)
    scene.stage.kill(child)
    scene.leader.reap(child)


@case("stores by all processes but one, which are all killed", exact, unsure)
def kill_of_all(scene: Scene) -> Iterator[None]:
    window = scene.share()
    children = [scene.leader.fork() for _ in range(4)]
    yield
    for page, child in enumerate(children):
        child.store(window, page)
    for child in children:
        scene.stage.kill(child)
    for child in children:
        scene.leader.reap(child)


@case("a store by a process that then executes another program", settled("exec"))
def execute(scene: Scene) -> Iterator[None]:
    window = scene.share()
    child = scene.leader.fork()
    yield
    child.store(window, 4)
    child.execute()


@case(
    "a store by a process that joins by the object's name",
    descriptor_unless_touched,
    descriptor_unless_touched,
)
def join_late(scene: Scene) -> Iterator[None]:
    scene.share("posix")
    scene.leader.close(scene.handle)
    child = scene.leader.fork().execute()
    yield
    child.store(child.map(child.open(scene.path), 8, 8), 9)


@case("a thread's end while it holds a robust lock", settled("lock"))
def robust_lock(scene: Scene) -> Iterator[None]:
    window = scene.share()
    child = scene.leader.fork()
    scratch = child.call("mmap", 0, PAGE, 3, _PRIVATE, -1, 0)
    # A list of one lock: the entry stands 8 bytes before the lock's word.
    lock = window.at(9) + 64
    child.ask("poke", scratch, struct.pack("<QqQ", scratch + 64, lock - scratch - 64, 0))
    child.ask("poke", scratch + 64, struct.pack("<Q", scratch))
    child.ask("poke", lock, struct.pack("<I", child.tid))
    child.call("set_robust_list", scratch, 24)
    yield
    child.exit()
    scene.leader.reap(child)


@case("the zeros of the kernel at the end of threads (clear_child_tid)", exact, unsure)
def cleared_thread_ids(scene: Scene) -> Iterator[None]:
    scene.share()
    window = scene.leader.anonymous(24 * PAGES)
    scene.leader.fill(window)
    crowds = [scene.leader.ask("crowd", PAGES, window.at(i * PAGES)) for i in range(24)]
    yield
    for child in crowds:
        kill(child)
        scene.leader.call("wait4", child, 0, 0, 0)


@case("the same of two processes in one memory (CLONE_VM), which are killed together", exact)
def cleared_ids_in_one_memory(scene: Scene) -> Iterator[None]:
    window = scene.share()
    child = scene.leader.fork()
    twin = child.clone(CLONE_VM | SIGCHLD)
    # It is killed once: by a second signal it would be gone before it can be looked at.
    twin.call("prctl", _SET_PDEATHSIG, 0)
    for page, actor in enumerate((child, twin)):
        actor.call("set_tid_address", window.at(page))
    yield
    kill(child.pid)
    kill(twin.pid)
    scene.leader.reap(child)
    wait_until(lambda: not is_alive(twin.pid), "its end")


# Processes that ptrace does not follow


def need_reports() -> None:
    """Skip a case that only the kernel's reports of births can tell of."""
    births = Births()
    births.close()
    if births.lacking:
        pytest.skip(f"no reports of births: {births.lacking}")


@case(
    "a store by a child that ptrace does not follow (CLONE_UNTRACED)",
    settled("vanished"),
    user=unreported,
)
def untraced(scene: Scene) -> Iterator[None]:
    need_reports()
    window = scene.share()
    yield
    child = scene.leader.clone(CLONE_UNTRACED | SIGCHLD)
    child.store(window, 4)
    child.exit()
    scene.leader.reap(child)


@case("a store by such a child, which lives on", settled("unfollowed"))
def untraced_and_lives(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.leader.clone(CLONE_UNTRACED | SIGCHLD).store(window, 4)


@case("a store by such a child, which lives on and has unmapped it", settled("unfollowed"))
def untraced_and_unmapped(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    child = scene.leader.clone(CLONE_UNTRACED | SIGCHLD)
    child.store(window, 4)
    child.unmap(window)


@case("a store by a child of such a child", settled("vanished"), user=unreported)
def untraced_grandchild(scene: Scene) -> Iterator[None]:
    need_reports()
    window = scene.share()
    yield
    child = scene.leader.clone(CLONE_UNTRACED | SIGCHLD)
    grandchild = child.fork()
    child.exit()
    scene.leader.reap(child)
    grandchild.store(window, 4)
    grandchild.exit()
    wait_until(lambda: not is_alive(grandchild.pid), "its end")


@case("a store by an orphan of such a child", settled("unfollowed"))
def untraced_orphan(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    child = scene.leader.clone(CLONE_UNTRACED | SIGCHLD)
    grandchild = child.fork()
    child.exit()
    scene.leader.reap(child)
    grandchild.store(window, 4)


@case(
    "a store by such a child of another parent (CLONE_PARENT)",
    settled("vanished"),
    user=unreported,
)
def untraced_sibling(scene: Scene) -> Iterator[None]:
    need_reports()
    window = scene.share()
    yield
    child = scene.leader.clone(CLONE_UNTRACED | CLONE_PARENT)
    child.store(window, 4)
    child.exit()
    wait_until(lambda: not is_alive(child.pid), "its end")


@case("a store by such a process in the same memory (CLONE_VM)", settled("unfollowed"))
def untraced_in_the_same_memory(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.leader.clone(CLONE_UNTRACED | CLONE_VM | SIGCHLD).store(window, 4)


@case("a store by such a process for which its parent waits (vfork)", settled("unfollowed"))
def untraced_vfork(scene: Scene) -> Iterator[None]:
    window = scene.share()
    child = scene.leader.fork()
    yield
    child.clone(CLONE_UNTRACED | CLONE_VM | CLONE_VFORK | SIGCHLD).store(window, 4)


@case("a store by a thread that ptrace does not follow", exact, user=settled("unfollowed"))
def untraced_thread(scene: Scene) -> Iterator[None]:
    need_reports()  # else it may have made a process that has ended
    window = scene.share()
    yield
    scene.leader.clone(CLONE_UNTRACED | CLONE_A_THREAD).store(window, 4)


@case("a store by such a thread of a process that is killed", exact)
def untraced_thread_and_kill(scene: Scene) -> Iterator[None]:
    window = scene.share()
    child = scene.leader.fork()
    yield
    child.clone(CLONE_UNTRACED | CLONE_A_THREAD).store(window, 4)
    scene.stage.kill(child)
    scene.leader.reap(child)


# Mappings


@case("a store to a mapping that is unmapped", settled("unmapped"), user=unreached)
def unmap(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.leader.store(window, 5, 20)
    scene.leader.unmap(scene.part(4, 8))


@case("a store to a mapping that another replaces", settled("unmapped"), user=unreached)
def map_over(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.leader.store(window, 5, 20)
    scene.leader.map(-1, 4, address=window.at(4))


@case("a store to a mapping that is moved", settled("new-mapping"))
def move(scene: Scene) -> Iterator[None]:
    window = scene.share()
    there = scene.leader.call("mmap", 0, window.bytes, 0, _PRIVATE, -1, 0)
    yield
    scene.leader.store(window, 5)
    flags = _MAYMOVE | _FIXED
    address = scene.leader.call("mremap", window.address, window.bytes, window.bytes, flags, there)
    scene.window = Window(address, 0, PAGES)
    scene.leader.store(scene.window, 6)


@case("a store to a mapping that grows", settled("new-mapping"))
def grow(scene: Scene) -> Iterator[None]:
    scene.share("posix")
    small = scene.leader.map(scene.handle, 8)
    yield
    scene.leader.store(small, 5)
    grown = scene.leader.remap(small, PAGES, _MAYMOVE)
    scene.leader.store(grown, 20)


@case("a store to a mapping that grows where it stands, and shrinks", settled("unmapped"))
def grow_and_shrink(scene: Scene) -> Iterator[None]:
    scene.share("posix")
    small = scene.leader.map(scene.handle, 8, address=scene.free_address(PAGES))
    yield
    grown = scene.leader.remap(small, PAGES, 0)
    scene.leader.store(grown, 20)
    scene.leader.remap(grown, 8, 0)


@case("a store to a mapping that grows to where another was, and shrinks", settled("unmapped"))
def grow_over_another(scene: Scene) -> Iterator[None]:
    scene.share("posix")
    small = scene.leader.map(scene.handle, 8, address=scene.free_address(PAGES))
    behind = scene.leader.map(-1, PAGES - 8, address=small.address + small.bytes)
    yield
    scene.leader.unmap(behind)
    grown = scene.leader.remap(small, PAGES, 0)
    scene.leader.store(grown, 20)
    scene.leader.remap(grown, 8, 0)


@case("a store to a mapping that grows where it stands, before an exec", settled("exec"))
def grow_and_execute(scene: Scene) -> Iterator[None]:
    scene.share("posix")
    child = scene.leader.fork()
    child.unmap(scene.window)
    small = child.map(scene.handle, 8, address=scene.free_address(PAGES))
    yield
    child.store(child.remap(small, PAGES, 0), 20)
    child.execute()


@case("a kill while a mapping is taken away that had grown where it stood", settled("unheard"))
def kill_within_unmap(scene: Scene) -> Iterator[None]:
    scene.share("posix")
    child = scene.leader.fork()
    small = child.map(scene.handle, 8, address=scene.free_address(PAGES))
    yield
    grown = child.remap(small, PAGES, 0)
    child.store(grown, 20)
    with scene.stage.keeper_held():
        child.begin("call", "munmap", grown.at(8), (PAGES - 8) * PAGE)
        wait_until(lambda: not shows(child.pid, grown.at(8)), "the mapping's end")
        scene.stage.kill(child)
        wait_until(lambda: state(child.pid) == "t", "the child's last stop")
    scene.leader.reap(child)


@case("a store to a mapping that shrinks", settled("unmapped"), user=unreached)
def shrink(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.leader.store(window, 5, 20)
    scene.leader.remap(window, 8, _MAYMOVE)


@case(
    "a store through a copy of a mapping (mremap of nothing)",
    settled("new-mapping"),
    settled("new-mapping"),
)
def duplicate(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    second = scene.leader.remap(window, PAGES, _MAYMOVE, old=0)
    scene.leader.store(second, 9)


@case(
    "a store to a mapping that is moved and stays, too",
    settled("new-mapping"),
    settled("new-mapping"),
)
def move_and_stay(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    flags = _MAYMOVE | _DONTUNMAP
    scene.leader.store(window, 5)
    address = scene.leader.call("mremap", window.address, window.bytes, window.bytes, flags, 0)
    scene.leader.store(Window(address, 0, PAGES), 6)


@case(
    "a store to a segment that is detached and attached",
    settled("touched"),
    user=settled("unmapped", "unwitnessed"),
)
def detach_and_attach(scene: Scene) -> Iterator[None]:
    window = scene.share("sysv")
    scene.leader.fork()  # it keeps the segment, which is marked to go
    yield
    scene.leader.store(window, 3)
    scene.leader.call("shmdt", window.address)
    again = Window(scene.leader.call("shmat", scene.handle, 0, 0), 0, PAGES)
    scene.leader.store(again, 4)


@case(
    "a store through a mapping that comes and goes, of a file",
    descriptor_unless_touched,
    descriptor_unless_touched,
)
def brief_mapping(scene: Scene) -> Iterator[None]:
    scene.share("posix")
    yield
    brief = scene.leader.map(scene.handle, PAGES)
    scene.leader.store(brief, 8)
    scene.leader.unmap(brief)


@case(
    "a store through a mapping that comes and goes, of a memory file",
    descriptor_unless_touched,
    descriptor_unless_touched,
)
def brief_mapping_of_a_memory_file(scene: Scene) -> Iterator[None]:
    scene.share("memfd")
    yield
    brief = scene.leader.map(scene.handle, PAGES)
    scene.leader.store(brief, 8)
    scene.leader.unmap(brief)


@case("stores around a change of protection", exact)
def protect(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.leader.store(window, 5)
    scene.leader.protect(window, 1)
    scene.leader.protect(window, 3)
    scene.leader.store(window, 6)


# Pages that go


@case("a store to a page whose entry is dropped (MADV_DONTNEED)", exact, unsure)
def dont_need(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.leader.store(window, 5)
    scene.leader.call("madvise", window.at(5), PAGE, _DONTNEED)


@case("a store to a page whose entry is dropped, and which is read again", exact)
def dont_need_and_load(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.leader.store(window, 5)
    scene.leader.call("madvise", window.at(5), PAGE, _DONTNEED)
    assert scene.leader.load(window, 5)


@case("a store to a page that is reclaimed (MADV_PAGEOUT)", exact, reclaimed)
def page_out(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.leader.store(window, 5)
    scene.leader.call("madvise", window.at(5), PAGE, _PAGEOUT)


@case("a store to a page that is reclaimed, and is read again", exact, reclaimed)
def page_out_and_load(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.leader.store(window, 5)
    scene.leader.call("madvise", window.at(5), PAGE, _PAGEOUT)
    assert scene.leader.load(window, 5)


@case("a store to a page that is swapped out, and is read again", exact, reclaimed)
def swap_out_and_load(scene: Scene) -> Iterator[None]:
    require_swap()
    with new_cgroup("memory") as group:
        group.add(scene.leader.pid)
        window = scene.share()
        yield
        scene.leader.store(window, 5)
        swapped = swapped_out()
        group.reclaim(window.bytes)
        assert swapped_out() > swapped
        assert scene.leader.load(window, 5)


@case("a page that is given back (MADV_REMOVE)", exact_or_touched)
def remove(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.leader.call("madvise", window.at(5), PAGE, _REMOVE)


@case("a page that is given back, and is read again", exact_or_touched)
def remove_and_load(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.leader.call("madvise", window.at(5), PAGE, _REMOVE)
    assert scene.leader.load(window, 5) == 0


@case("a hole that is punched (fallocate)", descriptor_unless_touched)
def punch(scene: Scene) -> Iterator[None]:
    scene.share("posix")
    yield
    scene.leader.call("fallocate", scene.handle, _KEEP_AND_PUNCH, 5 * PAGE, 2 * PAGE)


@case(
    "an object that is cut and made longer again (ftruncate)",
    descriptor_unless_touched,
    descriptor_unless_touched,
)
def truncate(scene: Scene) -> Iterator[None]:
    scene.share("posix")
    yield
    scene.leader.truncate(scene.handle, PAGES // 2)
    scene.leader.truncate(scene.handle, PAGES)


# Descriptors, and the kernel


@case("write(2) to a file in /dev/shm", descriptor_unless_touched)
def write_to_a_file(scene: Scene) -> Iterator[None]:
    window = scene.share("posix")
    yield
    assert scene.leader.call("write", scene.handle, window.at(7), 64) == 64


@case("a store to a memory file of which a descriptor is open", descriptor_unless_exact)
def store_beside_a_descriptor(scene: Scene) -> Iterator[None]:
    scene.share("memfd")
    yield
    scene.leader.store(scene.window, 7)


@case("pwrite(2) to a memory file", descriptor_unless_touched)
def pwrite_to_a_memory_file(scene: Scene) -> Iterator[None]:
    scene.share("memfd")
    yield
    scene.leader.pwrite(scene.handle, 7)


@case("pwrite(2) to a file in /dev/shm", descriptor_unless_touched)
def pwrite_to_a_file(scene: Scene) -> Iterator[None]:
    scene.share("posix")
    yield
    scene.leader.pwrite(scene.handle, 7)


@case(
    "asynchronous output (io_submit)",
    replace(settled("descriptor", "pinned"), testified=settled("touched", "pinned")),
)
def asynchronous_output(scene: Scene) -> Iterator[None]:
    leader = scene.leader
    scene.share("posix")
    scratch = leader.call("mmap", 0, PAGE, 3, _PRIVATE, -1, 0)
    leader.begin("call", "io_setup", 4, bytes(8))
    context = struct.unpack("<q", leader.end()[2][0])[0]
    # A struct iocb: data, key, rw_flags, opcode (1 is pwrite), reqprio, fildes, buf, nbytes, offset
    request = struct.pack(
        "<QIIHHIQQQQII", 0, 0, 0, 1, 0, scene.handle, scratch + 1024, 8, 6 * PAGE, 0, 0, 0
    )
    yield
    leader.ask("poke", scratch, request)
    leader.ask("poke", scratch + 512, struct.pack("<Q", scratch))
    leader.ask("poke", scratch + 1024, b"written!")
    assert leader.call("io_submit", context, 1, scratch + 512) == 1
    leader.call("io_getevents", context, 1, 1, scratch + 2048, 0)


@case("input into a buffer that is registered with io_uring", settled("pinned"))
def registered_buffer(scene: Scene) -> Iterator[None]:
    leader, window = scene.leader, scene.share()
    source = leader.open("/dev/urandom", 0)
    try:
        leader.ask("uring", window.at(4), 2 * PAGE)
    except OSError as error:
        pytest.skip(f"no io_uring: {error}")
    yield
    assert leader.ask("uring_read", source, window.at(5), 8, 1, 1) == 8


@case("input that is under way when an epoch begins (io_uring)", settled("pinned"))
def ring_under_way(scene: Scene) -> Iterator[None]:
    leader, window = scene.leader, scene.share()
    leader.begin("call", "pipe2", bytes(8), 0)
    out, into = struct.unpack("<ii", leader.end()[2][0])
    try:
        leader.ask("uring", 0, 0)
    except OSError as error:
        pytest.skip(f"no io_uring: {error}")
    leader.ask("uring_read", out, window.at(3), 8, 0, 0)
    yield
    leader.call("write", into, b"tidemark", 8)
    wait_until(lambda: leader.load(window, 3) == int.from_bytes(b"tidemark", "little"), "input")


@case("a process that may have direct input under way (io_submit)", settled("pinned"))
def direct_input(scene: Scene) -> Iterator[None]:
    window = scene.share()
    scene.leader.begin("call", "io_setup", 4, bytes(8))
    scene.leader.end()
    yield
    scene.leader.store(window, 3)


# Others


@case("a write to /proc/PID/mem by a process outside", exact)
def write_from_outside(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    scene.stage.write_memory(scene.leader.pid, window.at(5), b"from outside")


@case("process_vm_writev(2) by a process outside", exact)
def copy_from_outside(scene: Scene) -> Iterator[None]:
    window = scene.share()
    yield
    write_across(scene.leader.pid, window.at(5), b"from outside")


@case("a store by a process outside, which maps the region", settled("foreign"))
def outside(scene: Scene) -> Iterator[None]:
    scene.share("posix")
    outsider = scene.stranger()
    view = outsider.map(outsider.open(scene.path), PAGES)
    yield
    outsider.store(view, 6)


@case("a store by a process outside, which comes and goes", settled("touched"))
def outside_briefly(scene: Scene) -> Iterator[None]:
    scene.share("posix")
    scene.leader.close(scene.handle)
    outsider = scene.stranger()
    yield
    view = outsider.map(outsider.open(scene.path), PAGES)
    outsider.store(view, 6)
    outsider.exit()


@case("a write through a descriptor by a process outside", settled("foreign"))
def outside_descriptor(scene: Scene) -> Iterator[None]:
    scene.share("posix")
    scene.leader.close(scene.handle)
    outsider = scene.stranger()
    theirs = outsider.open(scene.path)
    yield
    outsider.pwrite(theirs, 3)


@case("a write by a descriptor that waits in a socket in between", descriptor_unless_touched)
def descriptor_in_a_socket(scene: Scene) -> Iterator[None]:
    leader = scene.leader
    scene.share("memfd")
    leader.begin("call", "socketpair", socket.AF_UNIX, socket.SOCK_STREAM, 0, bytes(8))
    ours, theirs = struct.unpack("<ii", leader.end()[2][0])
    leader.ask("give", ours, scene.handle)
    leader.close(scene.handle)
    yield
    taken = leader.ask("take", theirs)
    leader.pwrite(taken, 5)
    leader.ask("give", ours, taken)
    leader.close(taken)


@case("asynchronous output by a context that comes and goes", descriptor_unless_touched)
def brief_asynchronous_output(scene: Scene) -> Iterator[None]:
    window = scene.share("posix")
    scratch = scene.leader.call("mmap", 0, PAGE, 3, _PRIVATE, -1, 0)
    scene.leader.ask("poke", scratch, b"from a context")
    yield
    assert (
        scene.leader.ask("aio", 1, scene.handle, scratch, 64, window.at(5) - window.address) == 64
    )


@case(
    "a store through a brief mapping of a mount that keeps no access times",
    descriptor_unless_touched,
)
def mount_without_access_times(scene: Scene) -> Iterator[None]:
    leader = scene.leader
    scene.share("posix")
    leader.close(scene.handle)
    try:
        other = leader.ask("other_mount", scene.path, os.O_RDWR)
    except PermissionError:
        pytest.skip("only root can make a mount of its own")
    yield
    brief = leader.map(other, PAGES)
    leader.store(brief, 5)
    leader.unmap(brief)


@case(
    "a store through a brief mapping, after which times are set back (futimens)",
    descriptor_unless_touched,
)
def times_set_back(scene: Scene) -> Iterator[None]:
    scene.share("posix")
    yield
    scene.leader.ask("store_and_set_back", scene.handle, 5 * PAGE, 77)


@case(
    "a store by a descriptor that waits in a queue of fanotify(7), and leaves no trace",
    descriptor_unless_touched,
)
def descriptor_of_an_event(scene: Scene) -> Iterator[None]:
    leader = scene.leader
    scene.share("posix")
    leader.close(scene.handle)
    _require_root(scene)
    events = leader.call("fanotify_init", 0, os.O_RDWR | os.O_NOATIME)
    leader.call("fanotify_mark", events, 1, 0x20, AT_FDCWD, scene.path)  # FAN_MARK_ADD, FAN_OPEN
    leader.close(leader.open(scene.path))
    yield
    leader.begin("call", "read", events, bytes(24), 24)
    (descriptor,) = struct.unpack_from("<i", leader.end()[2][0], 16)
    brief = leader.map(descriptor, PAGES)
    leader.store(brief, 5)
    leader.unmap(brief)
    leader.close(descriptor)


@case(
    "a store through a file of an overlay, of which the region's file is a layer",
    descriptor_unless_touched,
)
def overlay(scene: Scene) -> Iterator[None]:
    leader = scene.leader
    _require_root(scene)
    leader.call("unshare", 0x20000)  # CLONE_NEWNS
    leader.call("mount", "none", "/", 0, 0x44000, 0)  # private, with all below
    leader.call("mount", "one", "/mnt", "tmpfs", 0, 0)
    for name in ("lower", "upper", "work", "merged"):
        leader.call("mkdirat", AT_FDCWD, f"/mnt/{name}", 0o700)
    made = leader.file("/mnt/upper/x", PAGES)
    scene.window = leader.map(made, PAGES)
    leader.fill(scene.window)
    leader.close(made)
    layers = "lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work"
    try:
        leader.call("mount", "two", "/mnt/merged", "overlay", 0, layers)
    except OSError:
        pytest.skip("the kernel has no overlays")
    other = leader.open("/mnt/merged/x")
    view = leader.map(other, PAGES)
    leader.close(other)
    yield
    leader.store(view, 5)


@case("input into a buffer that a ring of io_uring provides bit by bit", settled("pinned"))
def provided_buffers(scene: Scene) -> Iterator[None]:
    leader, window = scene.leader, scene.share()
    leader.begin("call", "pipe2", bytes(8), 0)
    read, write = struct.unpack("<ii", leader.end()[2][0])
    leader.ask("ring", 0)
    leader.ask("ring_of_buffers", window.at(2), window.at(4), 4 * PAGE, 2)  # IOU_PBUF_RING_INC
    yield
    leader.call("write", write, b"arrives ", 8)
    leader.ask("ring_select", read, 8)


@case(
    "process_vm_writev(2) that is under way when an epoch begins (the caller waits)",
    settled("foreign"),
)
def copy_under_way(scene: Scene) -> Iterator[None]:
    window = scene.share()
    outsider = scene.stranger()
    try:
        outsider.ask("across", scene.leader.pid, window.at(3), 2 * PAGE, 99)
    except PermissionError:
        pytest.skip("only root can have the kernel wait for a source (userfaultfd)")
    yield
    outsider.ask("across_end")


@case("a process that uses userfaultfd itself", settled("untracked"))
def own_userfaultfd(scene: Scene) -> Iterator[None]:
    window = scene.share()
    scene.leader.ask("protect_itself", window.address, window.bytes)
    yield
    scene.leader.store(window, 3)


@case("a process whose filter (seccomp) denies our system calls", exact, user=refused)
def denied(scene: Scene) -> Iterator[None]:
    window = scene.share()
    scene.leader.ask("deny", 323, 9, 27)  # userfaultfd, mmap, mincore
    yield
    scene.leader.store(window, 3)


@case("a process whose filter kills for our system calls", settled("untracked"), user=refused)
def filtered(scene: Scene) -> Iterator[None]:
    window = scene.share()
    scene.leader.ask("forbid", 323, 9, 27)
    yield
    scene.leader.store(window, 3)


@case("the same, of a file in /dev/shm", settled("untracked"))
def filtered_with_a_file(scene: Scene) -> Iterator[None]:
    window = scene.share("posix")
    scene.leader.close(scene.handle)
    scene.leader.ask("forbid", 323, 9, 27)
    yield
    scene.leader.store(window, 3)


@case("a thread whose filter kills for our system calls, beside one without", exact)
def half_filtered(scene: Scene) -> Iterator[None]:
    window = scene.share()
    scene.leader.fork("thread")
    scene.leader.ask("forbid", 323, 9, 27)
    yield
    scene.leader.store(window, 3)


@case(
    "a process that dispatches its system calls itself",
    settled("untracked"),
    exact_or_untracked,
    user=refused,
)
def dispatched(scene: Scene) -> Iterator[None]:
    window = scene.share()
    scene.leader.ask("dispatch")
    yield
    scene.leader.store(window, 3)


@case("a process without a vDSO", exact)
def without_vdso(scene: Scene) -> Iterator[None]:
    window = scene.share()
    scene.leader.ask("drop_vdso")
    yield
    scene.leader.store(window, 3)


# Regions


@case("a region that is born within the epoch", full)
def birth(scene: Scene) -> Iterator[None]:
    scene.share()
    yield
    scene.leader.unmap(scene.window)
    scene.share()
    scene.leader.store(scene.window, 2)


@case("a region that disappears within the epoch", exact)
def disappearance(scene: Scene) -> Iterator[None]:
    gone = scene.share()
    scene.share()
    yield
    scene.leader.store(gone, 2)
    scene.leader.unmap(gone)
    scene.leader.store(scene.window, 3)


@case("a store to a file of a tmpfs that is mounted nowhere", exact)
def detached(scene: Scene) -> Iterator[None]:
    leader = scene.leader
    _require_root(scene)
    context = leader.call("fsopen", "tmpfs", 0)
    leader.call("fsconfig", context, 6, 0, 0, 0)  # FSCONFIG_CMD_CREATE
    directory = leader.call("fsmount", context, 0, 0)
    made = leader.call("openat", directory, "x", os.O_RDWR | os.O_CREAT, 0o600)
    leader.truncate(made, PAGES)
    scene.window = leader.map(made, PAGES)
    for descriptor in (context, directory, made):
        leader.close(descriptor)
    leader.fill(scene.window)
    yield
    leader.store(scene.window, 3)


@case("a store to a segment, where another IPC namespace has one of its id", exact)
def segment_of_another_namespace(scene: Scene) -> Iterator[None]:
    scene.share()
    _require_root(scene)
    children, windows = [scene.leader.fork(), scene.leader.fork()], []
    for child in children:
        child.call("unshare", 0x08000000)  # CLONE_NEWIPC
        windows.append(child.attach_segment(child.segment(PAGES), PAGES))
        child.fill(windows[-1])
    yield
    children[0].store(windows[0], 3)
    children[1].store(windows[1], 5)


@case("shared memory in the place of a file, with the number of its device and its name", full)
def impostor(scene: Scene) -> Iterator[None]:
    leader = scene.leader
    scene.share()
    _require_root(scene)
    leader.call("unshare", 0x20000)  # CLONE_NEWNS
    leader.call("mount", "none", "/", 0, 0x44000, 0)  # private, with all below
    leader.call("mount", "one", "/mnt", "ramfs", 0, 0)
    made = leader.file("/mnt/x", PAGES)
    window = leader.map(made, PAGES)
    yield
    leader.close(made)
    leader.unmap(window)
    leader.call("umount2", "/mnt", 0)  # which frees the number
    leader.call("mount", "other", "/mnt", "tmpfs", 0, 0)
    made = leader.file("/mnt/x", PAGES)
    leader.fill(leader.map(made, PAGES, address=window.address))


@case("pwrite(2) to a memory file with a name longer than is kept", settled("descriptor"))
def long_name(scene: Scene) -> Iterator[None]:
    leader = scene.leader
    scene.handle = leader.memfd(PAGES, "n" * 249)
    scene.window = leader.map(scene.handle, PAGES)
    leader.fill(scene.window)
    yield
    leader.pwrite(scene.handle, 7)


@case("huge pages behind the region's pages (transparent)", exact)
def huge_pages(scene: Scene) -> Iterator[None]:
    enabled = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
    if not enabled.exists() or "[never]" in enabled.read_text() or "[deny]" in enabled.read_text():
        pytest.skip("the kernel backs no shared memory with huge pages (shmem_enabled)")
    scene.share()
    window = scene.leader.anonymous(2048)
    scene.leader.call("madvise", window.address, window.bytes, _HUGEPAGE)
    scene.leader.fill(window)
    yield
    scene.leader.store(window, 700)


def _require_root(scene: Scene) -> None:
    if os.geteuid() != 0 or scene.stage.user:
        pytest.skip("only root may do this")


# The document

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "guarantees.md"
_EVIDENCE = Path(__file__).with_name("evidence.md")
"""The part of it that no test writes."""

_INTRODUCTION = """\
# What is guaranteed

**No write is lost.** A page whose content differs from the parent dump is in the dump, whoever
wrote it and however. What a tracker sees is *exact*. What it cannot vouch for is *suspect*, for a
reason that stands in the bitmaps, the manifest and the report, and is compared with the parent dump
*by content*: unchanged pages are left to the parent, so that a suspect costs time, and no space.
Where there is nothing to compare with, the region is dumped in *full*, and the manifest says why.

Each row is a test, run with every tracker that the machine has, and for an ordinary user's programs
with uffd-wp
(`pytest tests/live/test_guarantees.py`); this file is written from the tests
(`python tests/live/guarantees.py`). After each case comes an epoch with an ordinary store, and
every dump is restored and compared. `make torture` does all of this at random.

"""

_REST = """
Beyond these, of each region:

- Soft-dirty bits stand in page table entries. Where the kernel's own counts show that it may have
  taken entries away within an epoch, all over the machine (pages were reclaimed, paged out or
  activated, huge pages were split or put together), all is settled by content (`reclaimed`). Two
  gaps stay: a page that is paged out by MADV_PAGEOUT at the moment in which the kernel holds it for
  another purpose, and a write by a process outside, to memory of a frozen process, between the
  reading of its bits and their reset.
- The kernel *testifies* where `tidemark probe` finds `testimony`: as root, on a kernel that
  describes itself (BTF) and lets BPF programs watch its functions (fentry). These count, by object,
  what is done by whichever process through whichever descriptor: writes of all kinds, holes, cuts,
  new mappings, and pages that are handed to devices through the file. A call that is under way
  when an epoch ends counts in both. What the kernel may have missed is noticed, and then nothing
  is vouched for. Not noticed is a superuser who switches `kernel.ftrace_enabled` off, and on again
  within one epoch; nor who had been given pages through the file before the keeper began.
  `TIDEMARK_TESTIMONY=off` in the keeper's environment does without.
- `audit` in the config compares pages that are called clean all the same; one that changed ends
  the run.
- A process outside of the workload that maps a region, and asynchronous input (a buffer that is
  registered with io_uring, a direct read that is under way) can change it while it is dumped: the
  dump then holds what was read, and the next one what changed since. `strict: true` makes that an
  error.
- A process that we may not inspect, and whose user could open the region by its name, counts as
  one that maps it (`uninspected`). Taken for granted is that the superuser's own services do not
  write into other programs' memory, and that nobody hands such a process a descriptor by a socket.
- Processes that are made so that ptrace does not tell of them (CLONE_UNTRACED) are looked for at
  each freeze, and the kernel's own reports of births (perf_event_open(2): root, or CAP_PERFMON)
  tell of those that ended before. Where they cannot be had (`follows` of the keeper's `status` is
  `ptrace` alone), what such a process wrote is lost if it ended, or left its parent, before a
  freeze could find it.
- Of the last thread of a process, the kernel clears the id in memory (clear_child_tid) only while
  somebody looks into the process, as ps(1) does, at the moment of its end. That zero is not seen
  if the word is in shared memory.
- Memory in huge pages of hugetlbfs is refused.
- What a mapping shows is asked of the object itself: its file system's type, its inode and its
  generation. So neither a mount that the process does not see, nor a device's number or a segment's
  id that is used twice, nor a name makes a difference. Who may not ask (CAP_CHECKPOINT_RESTORE)
  asks by descriptors, names and mounts, and uffd-wp whether it takes the mapping; a segment that
  processes of two IPC namespaces map then counts as two regions, both of them settled by content.
- Whatever processes map shared and writable, and is no such memory (a file on a disk, ramfs,
  memfd_secret, a device, rings of the kernel), is not saved. It is listed in the manifest, by
  `tidemark show`, with each checkpoint and in the report; `strict: true` makes it an error.
  What nobody could tell to be shared memory or not is listed as `unknown`.
- Verification has a list of its own of what is mapped: an object that the dump leaves out is a
  write that it missed. Without privileges that list may not know what an object is; then it is
  counted as not judged.
- An ordinary user's keeper cannot open an object that has neither a name nor a descriptor. Of such
  a one it saves what the processes map. Pages that nobody maps any more are not saved until
  somebody maps them again: a restored program that does so only then finds zeros. A process that
  forbids our system calls is refused if it maps such an object: nobody could tell what is in use.

What this costs while a workload stands is measured by `python benchmarks/soundness.py`.
"""


def document() -> str:
    """Return what docs/guarantees.md has to be."""
    columns = (*TRACKERS, USER)
    head = ["what happens", *columns, "test"]
    rows = [head, ["---"] * len(head)]
    for each in CASES:
        outcomes = [str(each.outcomes[column]) for column in columns]
        rows.append([each.title, *outcomes, f"`{each.name}`"])
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return _INTRODUCTION + table + _REST + "\n" + _EVIDENCE.read_text()


def main() -> int:
    """Write the document, or check it."""
    if "--check" in sys.argv[1:]:
        return DOCUMENT.read_text() != document()
    DOCUMENT.write_text(document())
    return 0


if __name__ == "__main__":
    sys.exit(main())
