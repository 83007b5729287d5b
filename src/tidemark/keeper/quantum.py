"""Letting a workload run for one epoch: by steps, by the clock, or by a command."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tidemark.errors import WorkloadError
from tidemark.keeper.spawn import Streams, cannot_execute, last_output, spawn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tidemark.keeper.live import Live
    from tidemark.keeper.spawn import FileLimits
    from tidemark.keeper.tree import Ending

STEP_VARIABLE = "TIDEMARK_STEP_FD"


class StepSocket:
    """Our end of the socket on which a program asks for leave before each of its steps.

    It writes ``?`` and reads ``g`` (go on) or ``s`` (stop). While it waits it stands at a
    point that depends on the number of steps alone.
    """

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()
        self._ours.setblocking(False)
        self.asking = False
        self.steps = 0
        self._leave = 0

    def fileno(self) -> int:
        """Return the descriptor to watch for a question."""
        return self._ours.fileno()

    def grant(self, steps: int) -> None:
        """Allow ``steps`` more, the one that is being asked for included."""
        self.steps, self._leave = 0, steps
        if self.asking:
            self._answer()

    def on_question(self) -> bool:
        """Answer a question, or leave it open when no step is left.

        Return False when the program has closed its end and will not ask again.
        """
        try:
            question = self._ours.recv(1)
        except BlockingIOError:
            return True
        if question == b"?":
            self.asking = True
            if self._leave:
                self._answer()
        return bool(question)

    def _answer(self) -> None:
        self._leave -= 1
        self.steps += 1
        self.asking = False
        with contextlib.suppress(OSError):  # it has ended, which is noted elsewhere
            self._ours.send(b"g")

    def stop(self) -> None:
        """Tell the program to check itself and end."""
        self.asking = False
        with contextlib.suppress(OSError):
            self._ours.send(b"s")

    def done(self) -> bool:
        """Return whether all allowed steps were made and the program asks for more."""
        return self.asking and self._leave == 0


@dataclass
class Command:
    """A program that runs beside the workload, and is not a part of it."""

    argv: Sequence[str]
    pid: int
    ending: Ending | None = None

    @classmethod
    def start(
        cls, argv: Sequence[str], env: Mapping[str, str], output: Path, limits: FileLimits
    ) -> Command:
        """Start ``argv``.

        :raises WorkloadError: when it cannot be executed
        """
        spawned = spawn(argv, env, Streams(output), limits)
        spawned.go()
        if failure := spawned.failure():
            raise cannot_execute(argv, failure)
        return cls(argv, spawned.pid)

    def done(self) -> bool:
        """Return whether it has ended."""
        return self.ending is not None

    def stop(self) -> None:
        """Kill it with all of its session, unless it has ended."""
        if self.ending is None:
            os.killpg(self.pid, signal.SIGKILL)


class Quantum(Protocol):
    """What lets a workload run for one epoch; started before it is thawed.

    ``limit`` is how long it may take, in seconds.
    """

    limit: float

    def start(self) -> None:
        """Begin; the workload still stands."""

    def done(self) -> bool:
        """Return whether the epoch is over."""

    def wake_after(self) -> float:
        """Return after how many seconds ``done`` may change without any event."""

    def finish(self) -> dict[str, object]:
        """Return what ran, for advance.json; the workload stands again.

        :raises WorkloadError: when a command failed
        """

    def describe(self) -> str:
        """Return what it is, for an error message."""


class Steps:
    """As many of the program's own steps."""

    def __init__(self, live: Live, count: int) -> None:
        self.limit = live.workload.timeout
        self._steps = live.steps
        self._count = count

    def start(self) -> None:
        """Give leave."""
        self._steps.grant(self._count)

    def done(self) -> bool:
        """Return whether the program asks for the step after the last."""
        return self._steps.done()

    def wake_after(self) -> float:
        """Return infinity: a question is an event."""
        return math.inf

    def finish(self) -> dict[str, object]:
        """Return the number of steps that were made."""
        return {"quantum": {"steps": self._count}, "steps": self._steps.steps}

    def describe(self) -> str:
        """Return how far it came."""
        return f"{self._count} steps (it is at its {self._steps.steps}.)"


class Seconds:
    """A stretch of wall-clock time."""

    def __init__(self, live: Live, seconds: float) -> None:
        self.limit = seconds + live.workload.timeout
        self._seconds = seconds
        self._end: float | None = None

    def start(self) -> None:
        """Leave the clock alone: the workload still has to be thawed, which takes its time."""

    def done(self) -> bool:
        """Return whether the time is up, which begins when this is asked for the first time."""
        if self._end is None:
            self._end = time.monotonic() + self._seconds
        return time.monotonic() >= self._end

    def wake_after(self) -> float:
        """Return what is left of the time."""
        return max(0.0, (self._end or 0.0) - time.monotonic())

    def finish(self) -> dict[str, object]:
        """Return the time that was asked for."""
        return {"quantum": {"seconds": self._seconds}}

    def describe(self) -> str:
        """Return the time that was asked for."""
        return f"{self._seconds:g} s"


class ByCommand:
    """The run time of a command that drives the workload from outside."""

    def __init__(self, live: Live, argv: Sequence[str]) -> None:
        self.limit = live.workload.timeout
        self._live = live
        self._argv = argv
        self._command: Command | None = None

    def start(self) -> None:
        """Start the command; it may have to wait for the workload to be thawed."""
        self._command = self._live.run_command(self._argv)

    def done(self) -> bool:
        """Return whether the command has ended."""
        return self._command is not None and self._command.done()

    def wake_after(self) -> float:
        """Return infinity: the end of a process is an event."""
        return math.inf

    def finish(self) -> dict[str, object]:
        """Return the command's exit code, or raise when it is not 0."""
        ending = self._command.ending if self._command else None
        if ending is None or ending.code != 0:
            output = self._live.command_output
            raise command_failed("the advance command", self._argv, ending, output)
        argv = list(self._argv)
        return {"quantum": {"command": argv}, "command": {"argv": argv, "exit_code": ending.code}}

    def describe(self) -> str:
        """Return the command."""
        return f"its advance command {' '.join(self._argv)}"


def command_failed(
    what: str, argv: Sequence[str], ending: Ending | None, output: Path
) -> WorkloadError:
    """Return the error for a command that did not end well, or not at all."""
    return WorkloadError(
        f"{what} {' '.join(argv)} {describe_ending(ending)}{last_output(output)}; "
        f"its output is in {output}"
    )


def describe_ending(ending: Ending | None) -> str:
    """Return how a process ended, as a verb phrase."""
    if ending is None:
        return "did not end in time"
    if ending.signal is not None:
        return f"was killed by {_signal_name(ending.signal)}"
    return f"exited with code {ending.code}"


def _signal_name(number: int) -> str:
    """Return a signal's name, where it has one: most real-time signals have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def quantum_of(live: Live) -> Quantum:
    """Return the quantum that a workload declares."""
    advance = live.workload.advance
    if advance.steps is not None:
        return Steps(live, advance.steps)
    if advance.seconds is not None:
        return Seconds(live, advance.seconds)
    return ByCommand(live, advance.command or ())
