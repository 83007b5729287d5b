"""Frozen means that nothing moves, and thawed that nothing had happened."""

from __future__ import annotations

import errno
import os
import signal
import struct
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from actors import CLONE_A_THREAD, CLONE_UNTRACED, CLONE_VM, SIGCHLD
from system import SA_RESTART, state, status, threads, wait_until

from tidemark.proc import is_worker

if TYPE_CHECKING:
    from actors import Actor, Window
    from stage import Stage

SECOND = 10**9
TIMESPEC = "<qq"
SIGQUEUE = -1  # SI_QUEUE


def prepare(stage: Stage) -> tuple[Actor, Window]:
    leader = stage.start()
    window = leader.anonymous(8)
    leader.fill(window)
    stage.baseline()
    return leader, window


def read_memory(pid: int, address: int) -> int:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123 - a seekable one
        memory.seek(address)
        return int.from_bytes(memory.read(8), "little")


def test_everything_stands_between_epochs_and_moves_within_them(verified: Stage) -> None:
    leader = verified.start()
    window = leader.anonymous(4)
    leader.fill(window)
    child = leader.fork()
    crew = [leader.fork("thread"), child.fork("thread"), child.fork().fork()]
    verified.baseline()
    with verified.epoch():
        for page, actor in enumerate(crew):
            actor.begin("count", window.at(page))
    for _ in range(3):
        before = counters(leader, window)
        time.sleep(0.02)
        assert counters(leader, window) == before
        with verified.epoch():
            wait_until(partial(have_moved, leader, window, before), "the counters move on")
    with verified.epoch():
        for page, actor in enumerate(crew):
            actor.begin("touch", window.at(page), 0)
            actor.end()  # of the counting
            actor.end()


def counters(leader: Actor, window: Window) -> list[int]:
    return [read_memory(leader.pid, window.at(page)) for page in range(3)]


def have_moved(leader: Actor, window: Window, before: list[int]) -> bool:
    return all(now > then for now, then in zip(counters(leader, window), before, strict=True))


def has_moved(leader: Actor, window: Window, before: int) -> bool:
    return read_memory(leader.pid, window.at(0)) > before


def test_all_threads_are_in_a_trace_stop_while_the_workload_stands(stage: Stage) -> None:
    leader, _ = prepare(stage)
    with stage.epoch():
        child = leader.fork()
        child.fork("thread")
    for pid in (leader.pid, child.pid):
        assert {state(tid) for tid in threads(pid)} == {"t"}
    with stage.epoch():
        wait_until(lambda: state(child.pid) == "S", "it runs")


@pytest.mark.parametrize(
    "flags", [SIGCHLD, CLONE_VM | SIGCHLD, CLONE_A_THREAD], ids=["child", "same memory", "thread"]
)
def test_what_ptrace_does_not_follow_stands_too(verified: Stage, flags: int) -> None:
    leader, window = prepare(verified)
    with verified.epoch():
        made = leader.clone(CLONE_UNTRACED | flags)
        made.begin("count", window.at(0))
    for _ in range(2):
        before = read_memory(leader.pid, window.at(0))
        assert state(made.tid) == "t"
        time.sleep(0.02)
        assert read_memory(leader.pid, window.at(0)) == before
        with verified.epoch() as epoch:
            wait_until(partial(has_moved, leader, window, before), "it runs")
        assert epoch.exact == {0}


def workers(actor: Actor) -> list[int]:
    return [tid for tid in threads(actor.pid) if is_worker(tid)]


def test_a_thread_of_the_kernel_in_a_process_is_not_disturbed(verified: Stage) -> None:
    """To stop one would end its request (EINTR), where the program itself sees no signal."""
    actor = verified.program()
    window = actor.anonymous(4)
    actor.fill(window)
    actor.begin("call", "pipe2", bytes(8), 0)
    out, into = struct.unpack("<ii", actor.end()[2][0])
    try:
        actor.ask("uring", 0, 0)
    except OSError as error:
        pytest.skip(f"no io_uring: {error}")
    actor.ask("uring_read", out, window.at(3), 8, 0, 0)
    wait_until(lambda: workers(actor), "a worker of io_uring")
    verified.attach(actor)
    for _ in range(2):
        with verified.epoch() as epoch:
            actor.store(window, 0)
        assert {state(tid) for tid in workers(actor)} == {"S"}
        assert "pinned" in epoch.region.reasons
    with verified.epoch():
        actor.call("write", into, b"tidemark", 8)
        arrived = int.from_bytes(b"tidemark", "little")
        wait_until(lambda: actor.load(window, 3) == arrived, "what the worker reads")


def test_a_stopped_process_stays_stopped_and_can_be_continued(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch():
        child = leader.fork()
        os.kill(child.pid, signal.SIGSTOP)
        wait_until(lambda: state(child.pid) in "Tt", "it stops")
        child.begin("fill", window.at(1), 1, 7)
    with verified.epoch() as epoch:
        leader.store(window, 0)
        assert state(child.pid) in "Tt"
    assert epoch.exact == {0}
    with verified.epoch() as epoch:
        os.kill(child.pid, signal.SIGCONT)
        child.end()
    assert epoch.exact == {1}


def test_a_stop_that_comes_while_the_workload_stands_takes_effect_then(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch():
        child = leader.fork()
    os.kill(child.pid, signal.SIGSTOP)
    with verified.epoch() as epoch:
        child.begin("fill", window.at(1), 1, 7)
        leader.store(window, 0)
        wait_until(lambda: state(child.pid) in "Tt", "it stops")
    assert epoch.region.dirty <= {0, 1}, "it may have run until the signal came"
    with verified.epoch():
        os.kill(child.pid, signal.SIGCONT)
        child.end()


def test_a_continuation_that_comes_while_the_workload_stands_takes_effect(
    verified: Stage,
) -> None:
    leader, window = prepare(verified)
    with verified.epoch():
        child = leader.fork()
        os.kill(child.pid, signal.SIGSTOP)
        wait_until(lambda: state(child.pid) in "Tt", "it stops")
    os.kill(child.pid, signal.SIGCONT)
    with verified.epoch() as epoch:
        child.store(window, 1)
    assert epoch.exact == {1}


def test_a_process_that_was_stopped_before_it_was_attached_to_stays_stopped(stage: Stage) -> None:
    actor = stage.program()
    window = actor.anonymous(4)
    actor.fill(window)
    os.kill(actor.pid, signal.SIGSTOP)
    wait_until(lambda: state(actor.pid) == "T", "it stops")
    stage.attach(actor)
    with stage.epoch():
        pass
    stage.stop()
    wait_until(lambda: state(actor.pid) == "T", "it is let go, and stopped")
    assert status(actor.pid, "TracerPid") == "0"
    os.kill(actor.pid, signal.SIGCONT)
    actor.store(window, 1)


def received(actor: Actor) -> list[list[int]]:
    actor.begin("signals")
    _, text, _ = actor.end()
    return [[int(word) for word in line.split()] for line in text.split(",") if line]


def test_a_signal_that_comes_while_the_workload_stands_is_delivered_once(verified: Stage) -> None:
    leader = verified.start()
    window = leader.anonymous(4)
    leader.fill(window)
    leader.ask("handle", signal.SIGUSR1, 0)
    leader.ask("handle", signal.SIGUSR2, SA_RESTART)
    verified.baseline()
    os.kill(leader.pid, signal.SIGUSR1)
    with verified.epoch():
        assert received(leader) == [[signal.SIGUSR1, 0, os.getpid(), 0]]
    with verified.epoch():
        os.kill(leader.pid, signal.SIGUSR2)
        wait_until(lambda: len(received(leader)) == 2, "the signal comes")
    with verified.epoch():
        assert len(received(leader)) == 2


def test_queued_signals_keep_their_number_and_their_values(verified: Stage) -> None:
    leader = verified.start()
    leader.fill(leader.anonymous(1))
    leader.ask("handle", signal.SIGRTMIN, 0)
    sender = verified.program()
    verified.baseline()
    for value in (3, 1, 2):
        info = struct.pack("<iiiiiiq", signal.SIGRTMIN, 0, SIGQUEUE, 0, sender.pid, 0, value)
        sender.call("rt_sigqueueinfo", leader.pid, signal.SIGRTMIN, info.ljust(128, b"\0"))
    with verified.epoch():
        expected = [[signal.SIGRTMIN, SIGQUEUE, sender.pid, value] for value in (3, 1, 2)]
        assert received(leader) == expected


def test_a_program_s_own_breakpoints_reach_its_own_handler(verified: Stage) -> None:
    leader = verified.start()
    leader.fill(leader.anonymous(1))
    leader.ask("handle", signal.SIGTRAP, 0)
    verified.baseline()
    for count in (1, 2):
        with verified.epoch():
            child = leader.fork()
            assert leader.ask("breakpoint") == count
            assert child.ask("breakpoint") == count


def test_a_sleep_takes_up_where_it_was(verified: Stage) -> None:
    leader, _ = prepare(verified)
    with verified.epoch():
        leader.begin("call", "nanosleep", struct.pack(TIMESPEC, 0, SECOND // 4), 0)
        wait_until(lambda: state(leader.pid) == "S", "it sleeps")
    with verified.epoch():
        assert leader.end()[0] == 0, "not interrupted"


def test_a_read_goes_on(verified: Stage) -> None:
    leader = verified.start()
    leader.fill(leader.anonymous(1))
    child = leader.fork()
    leader.begin("call", "pipe2", bytes(8), 0)
    out, into = struct.unpack("<ii", leader.end()[2][0])
    writer = leader.fork()
    verified.baseline()
    with verified.epoch():
        leader.begin("call", "read", out, bytes(8), 8)
        wait_until(lambda: state(leader.pid) == "S", "it waits")
    with verified.epoch():
        writer.call("write", into, b"tidemark", 8)
        result, _, buffers = leader.end()
        child.call("fcntl", 0, 1, 0)
    assert (result, buffers[0]) == (8, b"tidemark")


def test_a_wait_for_a_lock_goes_on(verified: Stage) -> None:
    leader, window = prepare(verified)
    with verified.epoch():
        child = leader.fork()
        leader.ask("poke", window.at(2), bytes(8))
        leader.begin("call", "futex", window.at(2), 0, 0, 0, 0, 0)  # FUTEX_WAIT while it is 0
        wait_until(lambda: state(leader.pid) == "S", "it waits")
    with verified.epoch():
        child.ask("poke", window.at(2), b"\1")
        child.call("futex", window.at(2), 1, 1, 0, 0, 0)  # FUTEX_WAKE
        assert _result(leader) in {0, -errno.EAGAIN}


@pytest.mark.parametrize("how", ["ppoll", "epoll_pwait"])
def test_a_wait_for_input_ends_by_input_or_by_its_time(verified: Stage, how: str) -> None:
    leader = verified.start()
    leader.fill(leader.anonymous(1))
    leader.begin("call", "pipe2", bytes(8), 0)
    out, into = struct.unpack("<ii", leader.end()[2][0])
    writer = leader.fork()
    poll = leader.call("epoll_create1", 0)
    leader.call("epoll_ctl", poll, 1, out, struct.pack("<Iq", 1, 7))

    def wait(milliseconds: int) -> None:
        if how == "ppoll":
            time = struct.pack(TIMESPEC, *divmod(milliseconds * 10**6, SECOND))
            leader.begin("call", how, struct.pack("<ihh", out, 1, 0), 1, time, 0, 0)
        else:
            leader.begin("call", how, poll, bytes(16), 1, milliseconds, 0, 0)
        wait_until(lambda: state(leader.pid) == "S", "it waits")

    verified.baseline()
    with verified.epoch():
        wait(300)
    with verified.epoch():
        assert _result(leader) in {0, -errno.EINTR}
        wait(60_000)
    with verified.epoch():
        writer.call("write", into, b"x", 1)
        assert _result(leader) in {1, -errno.EINTR}


def _result(actor: Actor) -> int:
    try:
        return actor.end()[0]
    except OSError as error:
        return -(error.errno or 0)


def test_a_thread_that_the_kernel_keeps_for_a_process_can_stand_too(verified: Stage) -> None:
    leader = verified.start()
    window = leader.anonymous(8)
    leader.fill(window)
    leader.begin("call", "pipe2", bytes(8), 0)
    out, into = struct.unpack("<ii", leader.end()[2][0])
    try:
        leader.ask("uring", 0, 0)
    except OSError as error:
        pytest.skip(f"no io_uring: {error}")
    leader.ask("uring_read", out, window.at(3), 8, 0, 0)
    wait_until(lambda: len(threads(leader.pid)) > 1, "the kernel's thread")
    verified.baseline()
    with verified.epoch() as epoch:
        leader.call("write", into, b"tidemark", 8)
        wait_until(lambda: leader.load(window, 3) == int.from_bytes(b"tidemark", "little"), "input")
    assert epoch.region.dirty == {3}
