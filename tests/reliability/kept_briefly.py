"""Keepers that are killed within what they do. They are forked, since there are many of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from tidemark.cli.keep import program_of
from tidemark.keeper import checkpoint  # noqa: F401 - before the fork, and not after each
from tidemark.keeper import main as keeper_main
from tidemark.keeper.protocol import SocketPath, send

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 20.0
MOST_BYTES = 1 << 30


class RefusedError(Exception):
    """A keeper has not come to where it was to be killed; what it said."""


class Phase(Enum):
    """What a keeper does when it is killed."""

    ATTACHING = "attaching"
    CHECKPOINT = "taking a checkpoint"
    LETTING_GO = "letting go"


PHASES = tuple(Phase)


def killed_within(pid: int, phase: Phase, seconds: float, directory: Path) -> float | None:
    """Have a process kept and kill the keeper so many seconds after a phase of that has begun.

    Return how long the phase took, if it was over.
    """
    keeper = Keeper(pid, directory)
    try:
        return keeper.killed_within(phase, seconds)
    finally:
        keeper.close()
        shutil.rmtree(directory, ignore_errors=True)


class Keeper:
    """The keeper of a process that runs, as a child of this one."""

    def __init__(self, target: int, directory: Path) -> None:
        self.target = target
        self.directory = directory
        directory.mkdir()
        theirs_in, ours_in = os.pipe()
        self._said, theirs_out = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._become_keeper(theirs_in, theirs_out)
        os.close(theirs_in)
        os.close(theirs_out)
        workload = replace(program_of((), "auto"), name="target", run=None, attach_pid=target)
        os.write(ours_in, workload.to_json().encode())
        os.close(ours_in)

    def _become_keeper(self, theirs_in: int, theirs_out: int) -> None:
        """Be a keeper, in this forked child."""
        try:
            os.setsid()
            log = os.open(self.directory / "keeper.log", os.O_WRONLY | os.O_CREAT)
            for number, descriptor in enumerate((theirs_in, theirs_out, log)):
                os.dup2(descriptor, number)
            os.closerange(3, 1024)
            sys.stdin, sys.stdout, sys.stderr = (
                os.fdopen(number, mode) for number, mode in ((0, "r"), (1, "w"), (2, "w"))
            )
            sys.argv = ["keeper", str(self.directory), keeper_main.CHECKPOINTS]
            keeper_main.main()
        finally:
            os._exit(1)

    def killed_within(self, phase: Phase, seconds: float) -> float | None:
        """Kill it so many seconds after a phase has begun; return what that took if it was over."""
        begun = self._begin(phase)
        while time.perf_counter() < begun + seconds and not self._is_over(phase):
            pass
        over = self._is_over(phase)
        took = time.perf_counter() - begun
        self._kill()
        return took if over else None

    def _begin(self, phase: Phase) -> float:
        """Have it begin a phase; return when."""
        if phase is Phase.ATTACHING:
            self._wait_until_it_traces()
            return time.perf_counter()
        said = os.read(self._said, 1 << 16)
        if not said.startswith(b'{"pid"'):
            raise RefusedError(said.decode() or self._last_words())
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with SocketPath(self.directory / keeper_main.SOCKET_NAME) as address:
            self._socket.connect(address)
        if phase is Phase.CHECKPOINT:
            message = {"step": "checkpoint", "full": False, "most_bytes": MOST_BYTES}
        else:
            message = {"step": "release", "stop": False}
        send(self._socket, message)
        self._socket.setblocking(False)
        return time.perf_counter()

    def _wait_until_it_traces(self) -> None:
        deadline = time.perf_counter() + PATIENCE
        own = f"\nTracerPid:\t{self.pid}\n".encode()
        with open(f"/proc/{self.target}/status", "rb", buffering=0) as file:  # noqa: PTH123 - quick
            while own not in file.read():
                file.seek(0)
                if time.perf_counter() > deadline:
                    raise RefusedError(self._last_words())

    def _last_words(self) -> str:
        os.set_blocking(self._said, False)
        with contextlib.suppress(BlockingIOError):
            return os.read(self._said, 1 << 16).decode()
        return (self.directory / "keeper.log").read_text()

    def _is_over(self, phase: Phase) -> bool:
        if phase is Phase.ATTACHING:
            os.set_blocking(self._said, False)
            with contextlib.suppress(BlockingIOError):
                return bool(os.read(self._said, 1))
            return False
        with contextlib.suppress(BlockingIOError):
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        return False

    def _kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = 0

    def close(self) -> None:
        """Leave nothing of it behind."""
        if self.pid:
            self._kill()
        os.close(self._said)
        if hasattr(self, "_socket"):
            self._socket.close()
