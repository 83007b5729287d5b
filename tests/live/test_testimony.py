"""The kernel's testimony: with it, a descriptor that is held makes nothing suspect."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from actors import AT_FDCWD, READ_WRITE
from system import PAGE

from tidemark.files import read_json
from tidemark.keeper.vouching import SWITCH
from tidemark.native.probe import probe_features

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Actor, Window
    from stage import Stage

PAGES = 16
_LOOP_SET_FD, _LOOP_CLR_FD, _LOOP_CTL_GET_FREE = 0x4C00, 0x4C01, 0x4C82
_PRIVATE = 0x22


@pytest.fixture
def vouched(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return a stage whose keeper waits at its start until the kernel counts."""
    lacking = probe_features()["testimony"]
    if lacking:
        pytest.skip(f"no testimony: {lacking}")
    monkeypatch.setenv(SWITCH, "wait")
    return stage


class Author:
    """A process that maps a memory file and holds on to its descriptor."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.leader: Actor = stage.start()
        self.file = self.leader.memfd(PAGES)
        self.window: Window = self.leader.map(self.file, PAGES)
        self.leader.fill(self.window)
        self.scratch = self.leader.call("mmap", 0, 4 * PAGE, READ_WRITE, _PRIVATE, -1, 0)

    def pipe(self) -> tuple[int, int]:
        """Return both ends of a pipe of the leader's, which holds a few bytes."""
        self.leader.begin("call", "pipe2", bytes(8), 0)
        out, into = struct.unpack("<ii", self.leader.end()[2][0])
        assert self.leader.call("write", into, b"tidemark", 8) == 8
        return out, into

    def other(self) -> int:
        """Return another memory file, with content."""
        descriptor = self.leader.memfd(1, "other")
        self.leader.pwrite(descriptor, 0)
        return descriptor


def pwrite(author: Author) -> None:
    author.leader.pwrite(author.file, 3)


def writev(author: Author) -> None:
    author.leader.ask("poke", author.scratch, struct.pack("<QQ", author.scratch + 64, 8))
    author.leader.ask("poke", author.scratch + 64, os.urandom(8))
    assert author.leader.call("pwritev", author.file, author.scratch, 1, 2 * PAGE, 0) == 8


def aio(author: Author) -> None:
    leader, scratch = author.leader, author.scratch
    leader.begin("call", "io_setup", 4, bytes(8))
    context = struct.unpack("<q", leader.end()[2][0])[0]
    data = scratch + 1024
    request = struct.pack("<QIIHHIQQQQII", 0, 0, 0, 1, 0, author.file, data, 8, 6 * PAGE, 0, 0, 0)
    leader.ask("poke", scratch, request)
    leader.ask("poke", scratch + 512, struct.pack("<Q", scratch))
    leader.ask("poke", data, os.urandom(8))
    assert leader.call("io_submit", context, 1, scratch + 512) == 1
    leader.call("io_getevents", context, 1, 1, scratch + 2048, 0)
    leader.call("io_destroy", context)


def io_uring(author: Author) -> None:
    try:
        author.leader.ask("uring", 0, 0)
    except OSError:
        author.leader.pwrite(author.file, 3)  # a machine without: nobody writes by it either
        return
    author.leader.ask("poke", author.scratch, os.urandom(8))
    assert author.leader.ask("uring_write", author.file, author.scratch, 8, 0, 1) == 8
    author.leader.ask("uring_close")


def splice(author: Author) -> None:
    out, _ = author.pipe()
    assert author.leader.call("splice", out, 0, author.file, 0, 8, 0) == 8


def sendfile(author: Author) -> None:
    assert author.leader.call("sendfile", author.file, author.other(), 0, 8) == 8


def copy_file_range(author: Author) -> None:
    other = author.other()
    author.leader.call("lseek", other, 0, 0)
    assert author.leader.call("copy_file_range", other, 0, author.file, 0, 8, 0) == 8


def punch(author: Author) -> None:
    author.leader.call("fallocate", author.file, 3, 5 * PAGE, PAGE)


def cut(author: Author) -> None:
    author.leader.truncate(author.file, PAGES - 2)
    author.leader.truncate(author.file, PAGES)


def brief_mapping(author: Author) -> None:
    path = f"/proc/self/fd/{author.file}"
    anew = author.leader.call("openat", AT_FDCWD, path, os.O_RDWR | os.O_NOATIME)
    window = author.leader.map(anew, PAGES)
    author.leader.store(window, 7)
    author.leader.unmap(window)
    author.leader.close(anew)


def passed_on(author: Author) -> None:
    """Write through a descriptor that another process takes from us, uses and closes."""
    stranger = author.stage.program()
    pidfd = stranger.call("pidfd_open", author.leader.pid, 0)
    taken = stranger.call("pidfd_getfd", pidfd, author.file, 0)
    stranger.pwrite(taken, 9)
    stranger.exit()


def loop_device(author: Author) -> None:
    """Have a thread of the kernel's write, which serves a block device over the file."""
    if not Path("/dev/loop-control").exists():
        author.leader.pwrite(author.file, 3)  # a machine without loop devices
        return
    file = os.open(f"/proc/{author.leader.pid}/fd/{author.file}", os.O_RDWR)
    control = os.open("/dev/loop-control", os.O_RDWR)
    device = os.open(f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}", os.O_RDWR)
    fcntl.ioctl(device, _LOOP_SET_FD, file)
    try:
        os.pwrite(device, os.urandom(PAGE), 8 * PAGE)
        os.fsync(device)
    finally:
        fcntl.ioctl(device, _LOOP_CLR_FD)
        for descriptor in (device, control, file):
            os.close(descriptor)


DEEDS: tuple[Callable[[Author], None], ...] = (
    *(pwrite, writev, aio, io_uring, splice, sendfile, copy_file_range),
    *(punch, cut, brief_mapping, passed_on, loop_device),
)


def _state(stage: Stage, epoch: int) -> str:
    return str(read_json(stage.path(epoch, "clear.json"))["testimony"])


@pytest.mark.usefixtures("root")
def test_stores_alone_are_exact_though_a_descriptor_of_a_memory_file_is_open(
    vouched: Stage,
) -> None:
    author = Author(vouched)
    vouched.baseline()
    assert _state(vouched, 0) == "yes"
    with vouched.epoch() as epoch:
        author.leader.store(author.window, 2, 11)
        author.leader.pread(author.file, 4)
    assert epoch.exact == {2, 11}
    with vouched.epoch() as epoch:
        pass
    assert epoch.exact == set()


@pytest.mark.usefixtures("root")
def test_whatever_is_done_through_a_descriptor_is_told_and_nothing_is_lost(
    vouched: Stage,
) -> None:
    author = Author(vouched)
    vouched.baseline()
    for deed in DEEDS:
        with vouched.epoch() as epoch:
            deed(author)
        assert "touched" in epoch.region.reasons, deed.__name__
    with vouched.epoch() as epoch:
        author.leader.store(author.window, 2)
    assert epoch.region.reasons.keys() <= {"pinned"}  # by a ring of io_uring that was there
    for found in vouched.verify_all():
        assert (found["different"], found["missed"]) == (0, 0), found


@pytest.mark.usefixtures("root")
def test_a_memory_file_that_is_new_is_vouched_for_from_the_next_epoch_on(vouched: Stage) -> None:
    author = Author(vouched)
    vouched.baseline()
    with vouched.epoch():
        young = author.leader.memfd(2)
        window = author.leader.map(young, 2)
        author.leader.fill(window)
    with vouched.epoch() as epoch:
        author.leader.store(window, 1)
    (number,) = epoch.regions.keys() - vouched.epochs[0].regions.keys()
    assert (epoch.regions[number].dirty, epoch.regions[number].reasons) == ({1}, {})


def test_what_is_switched_off_is_not_asked_and_descriptors_are_suspect(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "off")
    author = Author(stage)
    stage.baseline()
    with stage.epoch() as epoch:
        author.leader.store(author.window, 2)
    assert epoch.region.reasons.keys() == {"descriptor"}
    assert _state(stage, 1) == f"switched off by {SWITCH}"


def test_where_the_kernel_does_not_testify_the_keeper_says_why_and_goes_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    if probe_features()["testimony"] is None:
        pytest.skip("it does")
    monkeypatch.setenv(SWITCH, "wait")
    author = Author(stage)
    stage.baseline()
    with stage.epoch() as epoch:
        author.leader.store(author.window, 2)
    assert epoch.region.reasons.keys() == {"descriptor"}
    assert _state(stage, 1).startswith("no: ")
    log = (stage.directory / "keeper.log").read_text()
    assert log.count("the kernel does not testify") == 1
