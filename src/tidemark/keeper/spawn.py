"""Starting a program so that it does not outlive us unasked, or run before we trace it."""

from __future__ import annotations

import os
import resource
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemark.errors import WorkloadError
from tidemark.files import open_log
from tidemark.native.process import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_FAILED = 127
_LAST_STREAM = 2

_CHANGED = (
    *(signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP),  # by the keeper's loop
    *(signal.SIGPIPE, signal.SIGXFSZ),  # by Python
)

FileLimits = tuple[int, int]
"""The soft and the hard limit on open files: getrlimit(2)."""


@dataclass(frozen=True)
class Streams:
    """The standard streams of a program: the descriptors ``given``.

    Without them its input is empty, and its output is appended to the file ``output``.
    """

    output: Path
    given: Sequence[int] = ()

    def open(self) -> Sequence[int]:
        """Return the descriptors of input, output and errors."""
        if self.given:
            return self.given
        log = open_log(self.output)
        return (os.open(os.devnull, os.O_RDONLY), log, log)


@dataclass
class Spawned:
    """A program that waits at its gate, before its first instruction, until :meth:`go`."""

    pid: int
    argv: Sequence[str]
    _gate: int
    _failure: int

    def go(self) -> None:
        """Let it in, and return when it runs, or has failed to: see :meth:`failure`."""
        os.write(self._gate, b"g")
        os.close(self._gate)

    def failure(self) -> str | None:
        """Return why the program could not be executed; None when it runs.

        To be asked once, after :meth:`go`; it waits until that is known.
        """
        with os.fdopen(self._failure, "rb") as pipe:
            number = pipe.read()
        return os.strerror(int(number)) if number else None


def spawn(  # noqa: PLR0913 - all that is the program's own
    argv: Sequence[str],
    env: Mapping[str, str],
    streams: Streams,
    limits: FileLimits,
    *,
    inherit: Sequence[int] = (),
    outlives: bool = False,
) -> Spawned:
    """Fork a child that will execute ``argv`` in a session of its own, at its gate.

    :param limits: how many files it may have open
    :param inherit: descriptors that it keeps
    :param outlives: whether it is to run on when this process ends; else the kernel kills it
    """
    gate_out, gate_in = os.pipe()
    failure_out, failure_in = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(gate_in)
            os.close(failure_out)
            if not outlives:
                die_with_parent(signal.SIGKILL)
            _become(streams, inherit)
            if os.read(gate_out, 1) == b"g":
                # Last: until the program runs, we have open what the keeper has.
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                os.execvpe(argv[0], list(argv), dict(env))
        except BaseException as error:  # nothing may escape into the parent's code
            os.write(failure_in, str(getattr(error, "errno", None) or 1).encode())
        finally:
            os._exit(_FAILED)
    os.close(gate_out)
    os.close(failure_in)
    return Spawned(pid, argv, gate_in, failure_out)


def _become(streams: Streams, inherit: Sequence[int]) -> None:
    """Give this forked child the surroundings of the program."""
    os.setsid()
    for number in _CHANGED:
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    for target, source in enumerate(streams.open()):
        os.dup2(source, target)
        if source > _LAST_STREAM:
            os.set_inheritable(source, False)  # who waits for its end waits for the program alone
    for descriptor in inherit:
        os.set_inheritable(descriptor, True)


def last_output(output: Path, lines: int = 3) -> str:
    """Return the last lines that a program printed, for an error message; empty if none."""
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - 4096))
            text = file.read().decode(errors="replace").strip()
    except OSError:
        return ""
    return "; it printed: " + " | ".join(text.splitlines()[-lines:]) if text else ""


def cannot_execute(argv: Sequence[str], reason: str) -> WorkloadError:
    """Return the error for a program that is there but does not start."""
    return WorkloadError(f"cannot execute {argv[0]}: {reason}; check its path and permissions")
