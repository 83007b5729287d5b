"""What goes wrong in an event of the tree makes memory suspect, is told, and ends nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from actors import Window
from kept import PAGES, Kept
from system import descriptors, is_alive, wait_until

from tidemark.errors import TidemarkError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import Actor
    from stage import Stage

    from tidemark.keeper.client import Client

HUGE = 2 << 20
MAP_HUGETLB, MAP_NORESERVE, MAP_SHARED_ANONYMOUS = 0x40000, 0x4000, 0x21


@pytest.fixture
def kept(stage: Stage) -> Iterator[Kept]:
    kept = Kept(stage)
    yield kept
    assert is_alive(stage.keeper["pid"])
    kept.check_all()


def fill_table(actor: Actor) -> int:
    """Leave an actor no free descriptor, and no way to have more; return one that it can spare."""
    spare = actor.call("dup", 0)
    number = max(descriptors(actor.pid)) + 1
    resource.prlimit(actor.pid, resource.RLIMIT_NOFILE, (number, number))
    with contextlib.suppress(OSError):
        while True:
            actor.call("dup", 0)
    return spare


@contextlib.contextmanager
def full_table(kept: Kept) -> Iterator[Client]:
    """Leave the keeper no free descriptor as long as the block lasts; give a client of it."""
    keeper = kept.stage.keeper["pid"]
    before = resource.prlimit(keeper, resource.RLIMIT_NOFILE)
    with kept.stage.client() as client:
        for _ in range(3):
            client.ask("status")  # by now it has heard that former ones have gone
        opened = descriptors(keeper)
        free = next(number for number in range(len(opened) + 1) if number not in opened)
        resource.prlimit(keeper, resource.RLIMIT_NOFILE, (free, before[1]))
        try:
            yield client
        finally:
            resource.prlimit(keeper, resource.RLIMIT_NOFILE, before)


_FORKS = """
import ctypes, mmap, os, resource, sys
memory = mmap.mmap(-1, 16 * 4096)
memory[:] = bytes([1]) * len(memory)
print(ctypes.addressof(ctypes.c_char.from_buffer(memory)), flush=True)
sys.stdin.readline()
resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
try:
    while True:
        os.dup(0)
except OSError:
    print("full", flush=True)
for line in sys.stdin:
    page = int(line)
    if os.fork() == 0:
        memory[page * 4096] += 1
        os._exit(0)
    os.wait()
    memory[(page + 1) * 4096] += 1
    print("done", flush=True)
"""
"""A program that when it is told to has no free descriptor, and forks all the same."""


# A full table of descriptors


def test_a_process_without_a_free_descriptor_is_kept_by_content(kept: Kept) -> None:
    leader, window = kept.program()
    fill_table(leader)
    kept.stage.attach(leader)
    first = kept.take()
    (told,) = first.untracked
    assert (told["pid"], told["number"]) == (leader.pid, 0)
    why = f"process {leader.pid} has no descriptor left for a userfaultfd"
    assert told["why"] == f"untracked: {why}"
    leader.store(window, 1)
    second = kept.take()
    assert (second.pages, second.suspects) == (1, PAGES)
    assert list(kept.manifest(second.number)["suspects"]) == [told["why"]]


@pytest.fixture
def forking() -> Iterator[subprocess.Popen[str]]:
    """Yield a program that forks when it is told to, and ends after its keeper was looked at."""
    command = [sys.executable, "-c", _FORKS]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as program:
        yield program
        assert program.stdin is not None
        program.stdin.close()
        assert program.wait() == 0


@pytest.mark.parametrize("when", ["before", "later"])
def test_forks_without_a_free_descriptor_lose_nothing(
    forking: subprocess.Popen[str], kept: Kept, when: str
) -> None:
    assert forking.stdin is not None
    assert forking.stdout is not None
    words, answers = forking.stdin, forking.stdout

    def tell(line: str) -> str:
        words.write(f"{line}\n")
        words.flush()
        return str(answers.readline())

    window = Window(int(answers.readline()), 0, PAGES)
    kept.watch(forking.pid, window)
    if when == "before":
        assert tell("fill") == "full\n"
    kept.stage.launch(attach={"pid": forking.pid, "pidfile": None})
    kept.take()
    if when == "later":
        assert tell("fill") == "full\n"
    for page in (2, 5, 8):
        assert tell(str(page)) == "done\n"
        assert kept.take().pages == 2


def test_a_process_is_tracked_again_once_it_has_a_free_descriptor(kept: Kept) -> None:
    leader, window = kept.program()
    spare = fill_table(leader)
    kept.stage.attach(leader)
    assert kept.take().untracked
    leader.close(spare)
    kept.take()
    leader.store(window, 2)
    taken = kept.take()
    assert (taken.pages, taken.suspects, taken.untracked) == (1, 0, ())


def test_status_tells_of_a_process_that_is_not_tracked(kept: Kept) -> None:
    leader, _ = kept.program()
    fill_table(leader)
    kept.stage.attach(leader)
    done = kept.run("status", str(kept.stage.directory))
    assert f"; process {leader.pid} untracked: " in done.stdout, done.stderr
    done = kept.run("checkpoint", str(kept.stage.directory), "--to", str(kept.directory))
    assert f"process {leader.pid} untracked: " in done.stdout, done.stderr
    kept.expect(0)


# A keeper that lacks descriptors


def test_a_keeper_without_a_free_descriptor_loses_no_birth_and_no_end(kept: Kept) -> None:
    leader, window = kept.attach()
    kept.take()
    keeper = kept.stage.keeper["pid"]
    with full_table(kept):
        children = [leader.fork() for _ in range(8)]
        for page, child in enumerate(children):
            child.store(window, page)
        child = leader.fork().fork("thread")
        child.store(window, 8)
        children[0].exit(5)
        assert leader.reap(children[0]) == 5 << 8
        assert is_alive(keeper)
    taken = kept.take()
    assert taken.pages == 9
    assert taken.mishaps
    assert any("Too many open files" in mishap for mishap in taken.mishaps)
    leader.store(window, 9)
    child.store(window, 10)
    after = kept.take()
    assert (after.pages, after.untracked) == (2, ())


def test_a_keeper_without_a_free_descriptor_answers_and_takes_checkpoints_later(
    kept: Kept,
) -> None:
    leader, window = kept.attach()
    kept.take()
    leader.store(window, 1)
    with full_table(kept) as client:
        kept.windows.append((leader, leader.anonymous(2)))
        with contextlib.suppress(TidemarkError):
            _, came = client.ask("checkpoint", full=False, most_bytes=0)
            for descriptor in came:
                os.close(descriptor)
        client.ask("leave")
        wait_until(kept.stage.runs, "it runs")
        assert client.ask("status")[0]["processes"] == [leader.pid]
    kept.take()
    leader.store(window, 2)
    assert kept.take().pages == 1


# What is not supported


@pytest.fixture
def huge_pages() -> None:
    if "hugetlbfs" not in Path("/proc/filesystems").read_text():
        pytest.skip("the kernel has no huge pages")


def test_a_fork_with_memory_that_is_not_supported_ends_nothing(
    kept: Kept,
    huge_pages: None,  # noqa: ARG001 - skips
) -> None:
    leader, window = kept.attach()
    kept.take()
    flags = MAP_HUGETLB | MAP_NORESERVE | MAP_SHARED_ANONYMOUS
    address = leader.call("mmap", 0, HUGE, 3, flags, -1, 0)
    child = leader.fork()
    child.store(window, 1)
    with pytest.raises(UnsupportedError, match="huge pages"):
        kept.take()
    child.store(window, 2)
    child.call("munmap", address, HUGE)
    leader.call("munmap", address, HUGE)
    child.store(window, 3)
    taken = kept.take()
    assert taken.pages == 3
    (mishap,) = taken.mishaps
    assert mishap.startswith(f"process {child.pid} (actor) was born untracked: process {child.pid}")
    child.store(window, 4)
    assert (kept.take().pages, kept.take().pages) == (1, 0)
