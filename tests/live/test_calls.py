"""System calls that our stops end, and that were to wait: they end by what ends them anyway."""

from __future__ import annotations

import errno
import os
import signal
import struct
import time
from typing import TYPE_CHECKING

import pytest
from system import state, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Actor
    from stage import Stage

FOR_EVER = -1

_CREATE = 0o1000


def result_of(actor: Actor) -> int:
    try:
        return actor.end()[0]
    except OSError as error:
        return -(error.errno or 0)


def epoll_wait(leader: Actor, _: Actor) -> Callable[[], object]:
    leader.begin("call", "pipe2", bytes(8), 0)
    out, into = struct.unpack("<ii", leader.end()[2][0])
    poll = leader.call("epoll_create1", 0)
    leader.call("epoll_ctl", poll, 1, out, struct.pack("<Iq", 1, 7))
    helper = leader.fork()
    leader.begin("call", "epoll_pwait", poll, bytes(16), 1, FOR_EVER, 0, 0)
    return lambda: helper.call("write", into, b"x", 1)


def semop(leader: Actor, writer: Actor) -> Callable[[], object]:
    number = leader.call("semget", 0, 1, _CREATE | 0o600)
    leader.begin("call", "semop", number, struct.pack("<Hhh", 0, -1, 0), 1)
    return lambda: writer.call("semop", number, struct.pack("<Hhh", 0, 1, 0), 1)


def sigwaitinfo(leader: Actor, _: Actor) -> Callable[[], object]:
    mask = struct.pack("<Q", 1 << (signal.SIGUSR2 - 1))
    leader.call("rt_sigprocmask", 0, mask, 0, 8)
    leader.begin("call", "rt_sigtimedwait", mask, bytes(128), 0, 8)
    return lambda: os.kill(leader.pid, signal.SIGUSR2)


CALLS = {"epoll_wait": epoll_wait, "semop": semop, "sigwaitinfo": sigwaitinfo}
ENDS = {"epoll_wait": 1, "semop": 0, "sigwaitinfo": signal.SIGUSR2}


def prepare(stage: Stage) -> tuple[Actor, Actor]:
    leader = stage.start()
    leader.fill(leader.anonymous(4))
    leader.ask("handle", signal.SIGUSR1, 0)
    writer = leader.fork()
    stage.baseline()
    return leader, writer


@pytest.mark.parametrize("call", CALLS)
def test_a_call_without_a_time_limit_waits_on(verified: Stage, call: str) -> None:
    leader, writer = prepare(verified)
    with verified.epoch():
        end = CALLS[call](leader, writer)
        wait_until(lambda: state(leader.pid) == "S", "it waits")
    for _ in range(3):
        with verified.epoch():
            time.sleep(0.01)
    with verified.epoch():
        wait_until(lambda: state(leader.pid) == "S", "it waits again")
        end()
        assert result_of(leader) == ENDS[call]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("stands", [True, False], ids=["while it stands", "while it runs"])
def test_a_signal_with_a_handler_ends_it_as_ever(verified: Stage, call: str, stands: bool) -> None:
    leader, writer = prepare(verified)
    with verified.epoch():
        CALLS[call](leader, writer)
        wait_until(lambda: state(leader.pid) == "S", "it waits")
    if stands:
        os.kill(leader.pid, signal.SIGUSR1)
    with verified.epoch():
        if not stands:
            wait_until(lambda: state(leader.pid) == "S", "it waits again")
            os.kill(leader.pid, signal.SIGUSR1)
        assert result_of(leader) == -errno.EINTR


@pytest.mark.parametrize("call", CALLS)
def test_a_signal_that_is_ignored_does_not_end_it(verified: Stage, call: str) -> None:
    """It is not even sent to who is not traced."""
    leader, writer = prepare(verified)
    with verified.epoch():
        end = CALLS[call](leader, writer)
        wait_until(lambda: state(leader.pid) == "S", "it waits")
        os.kill(leader.pid, signal.SIGWINCH)
        os.kill(leader.pid, signal.SIGURG)
    with verified.epoch():
        wait_until(lambda: state(leader.pid) == "S", "it waits again")
        end()
        assert result_of(leader) == ENDS[call]


@pytest.mark.parametrize("call", CALLS)
def test_a_stop_that_we_have_not_caused_ends_it_as_ever(verified: Stage, call: str) -> None:
    leader, writer = prepare(verified)
    with verified.epoch():
        CALLS[call](leader, writer)
        wait_until(lambda: state(leader.pid) == "S", "it waits")
        os.kill(leader.pid, signal.SIGSTOP)
        wait_until(lambda: state(leader.pid) in "Tt", "it stops")
    with verified.epoch():
        os.kill(leader.pid, signal.SIGCONT)
        assert result_of(leader) == -errno.EINTR


def test_a_call_with_a_time_limit_says_that_it_was_interrupted(verified: Stage) -> None:
    """To be made again it would wait all of its time anew."""
    leader, _ = prepare(verified)
    with verified.epoch():
        poll = leader.call("epoll_create1", 0)
        leader.begin("call", "epoll_pwait", poll, bytes(16), 1, 60_000, 0, 0)
        wait_until(lambda: state(leader.pid) == "S", "it waits")
    with verified.epoch():
        assert result_of(leader) == -errno.EINTR


@pytest.mark.usefixtures("root")
def test_a_sleep_lasts_where_a_filter_knows_nothing_of_its_rest(verified: Stage) -> None:
    """After a stop the kernel has it go on by restart_syscall(2), which here is death."""
    _, sleeper = prepare(verified)
    restart_syscall = 219
    with verified.epoch():
        sleeper.ask("forbid", restart_syscall)
        sleeper.begin("call", "nanosleep", struct.pack("<qq", 0, 10**9 // 4), 0)
        wait_until(lambda: state(sleeper.pid) == "S", "it sleeps")
    with verified.epoch():
        assert sleeper.end()[0] == 0
