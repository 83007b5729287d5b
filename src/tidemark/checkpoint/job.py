"""The program of a batch job under a keeper: checkpoints on a schedule, and at the job's end."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

from tidemark.checkpoint.keepers import (
    KEEPER_JSON,
    connect,
    end,
    remove_work_directory,
    work_directory,
)
from tidemark.errors import KeeperError
from tidemark.files import read_json, write_json
from tidemark.keeper.client import readable
from tidemark.keeper.launch import launch
from tidemark.keeper.main import ENDING_JSON, JOB
from tidemark.native.process import adopt_orphans

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidemark.keeper.client import Client
    from tidemark.workload import Workload

log = logging.getLogger(__name__)

_ANNOUNCING = signal.SIGUSR1
"""The end of the job is near: a checkpoint, and the program runs on."""
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The job ends: a checkpoint, and the program gets the signal."""


class _Signals:
    """The signals that came, as bytes on a pipe; a context manager."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        self._wakeup = signal.set_wakeup_fd(self._in, warn_on_full_buffer=False)
        self._before = {n: signal.signal(n, _noted) for n in (_ANNOUNCING, *_ENDING)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._out)
        os.close(self._in)

    def fileno(self) -> int:
        """Return what can be read when a signal has come."""
        return self._out

    def take(self) -> list[int]:
        """Return the signals that have come since they were last taken."""
        try:
            return list(os.read(self._out, 4096))
        except BlockingIOError:
            return []


def _noted(*_: object) -> None:
    """Let a signal wake us and do nothing else."""


class Job:
    """The program of a batch job, kept; a context manager.

    :param name: of the directory where its keeper works, which is removed at the end
    :raises TidemarkError: what the keeper could not do
    """

    def __init__(self, workload: Workload, name: str) -> None:
        self._directory = work_directory(None, name)
        self._name = workload.name
        self._stack = ExitStack()
        self._signals = self._stack.enter_context(_Signals())
        # Should its keeper be killed, the program is ours to wait for.
        adopt_orphans()
        try:
            self._root = self._launch(workload)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        remove_work_directory(self._directory)

    def _launch(self, workload: Workload) -> int:
        """Start the keeper, with our own standard streams for the program; return its pid."""
        streams = [os.dup(number) for number in (0, 1, 2)]
        try:
            keeper = launch(
                workload.to_json(), self._directory, JOB, owner=os.getpid(), streams=streams
            )
        finally:
            for descriptor in streams:
                os.close(descriptor)
        try:
            write_json(self._directory / KEEPER_JSON, keeper)
        except BaseException:
            end(keeper, stop=True)
            raise
        return int(keeper["root"])

    def run(self, taker: Callable[[Client], Callable[[], object]], every: float | None) -> int:
        """Take checkpoints until the program ends; return its exit code, as a shell would.

        :param taker: returns, for a client of the keeper, what takes one; what that fails of is
            its own to tell
        :param every: seconds from one to the next; None: only where a signal asks for one
        :raises KeeperError: when the exit code cannot be known
        """
        with suppress(KeeperError), connect(self._directory / KEEPER_JSON) as client:
            self._attend(client, taker(client), every or math.inf)
        return self._ending()

    def _attend(self, client: Client, take: Callable[[], object], every: float) -> None:
        """Take checkpoints until the keeper is gone.

        :raises KeeperError: then
        """
        due = time.monotonic() + every
        while True:
            left = max(0.0, due - time.monotonic())
            client.wait(None if left == math.inf else left, self._signals.fileno())
            came = self._signals.take()
            if came or time.monotonic() >= due:
                take()
                due = time.monotonic() + every
            self._pass_on(came)

    def _pass_on(self, came: list[int]) -> None:
        for number in came:
            if number in _ENDING:
                with suppress(ProcessLookupError):
                    os.kill(self._root, number)

    def _ending(self) -> int:
        """Return the exit code of the program; wait for it if it still runs."""
        path = self._directory / ENDING_JSON
        if path.exists():  # it is written before the keeper hangs up
            ending = read_json(path)
            return int(ending["code"] if ending["signal"] is None else 128 + ending["signal"])
        log.warning("the keeper is gone; %s runs on, without checkpoints", self._name)
        return self._wait_alone()

    def _wait_alone(self) -> int:
        try:
            program = os.pidfd_open(self._root)
            came = self._signals.fileno()
            while program not in readable(None, program, came):
                self._pass_on(self._signals.take())
            code = os.waitstatus_to_exitcode(os.waitpid(self._root, 0)[1])
        except (ProcessLookupError, ChildProcessError):
            raise KeeperError(
                f"how {self._name} ended is not known, since its keeper was gone before; see what "
                "it printed"
            ) from None
        return 128 - code if code < 0 else code
