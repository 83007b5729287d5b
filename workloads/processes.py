"""The processes of a program: how they start, work together, and end with their leader.

A leader and its members talk over socket pairs and nothing else. That is the barrier too: a member
that is not carrying out an order sleeps in a read of its socket, and never in the shared memory.
"""

import ctypes
import multiprocessing
import os
import signal
import struct
import traceback
from collections.abc import Callable, Sequence
from functools import cache, partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Literal, NamedTuple, Self

from program import STOP, Damage

Method = Literal["fork", "spawn"]
Body = Callable[[Connection], None]  # what a member does with its line to the leader
Work = Callable[[int, int], None]  # one phase of one step
Start = Callable[[int], Work]  # what process number n does in every step

_ORDER = struct.Struct("=QQ")  # step, phase
_PR_SET_PDEATHSIG = 1


class _Member(NamedTuple):
    process: BaseProcess
    line: Connection


class Staff:
    """The processes that a leader has started; leaving the context ends them."""

    def __init__(self) -> None:
        self._members: list[_Member] = []

    @property
    def lines(self) -> list[Connection]:
        """The leader's ends of the lines, in the order of hiring."""
        return [member.line for member in self._members]

    def hire(self, body: Body, method: Method = "fork") -> None:
        """Start one more process, which runs `body` with its end of a new line."""
        ours, theirs = multiprocessing.Pipe()
        # What a forked member inherits of other lines would keep them open after their owner's end.
        strange = [*self.lines, ours] if method == "fork" else []
        member = partial(_live, os.getpid(), strange, theirs, body)
        process = _process(method, member)
        process.start()
        theirs.close()
        self._members.append(_Member(process, ours))

    def dismiss(self) -> None:
        """Hang up on all members, which makes them end, and see that they ended well."""
        for line in self.lines:
            line.close()
        for number, member in enumerate(self._members, start=1):
            member.process.join()
            if member.process.exitcode:
                raise Damage(f"Process {number} ended with status {member.process.exitcode}.")
        self._members.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.dismiss()
        finally:
            self._end()

    def _end(self) -> None:
        """End whoever is still there, because not all is well."""
        for member in self._members:
            member.process.kill()
            member.process.join()


class Crew(Staff):
    """A leader and its members, which all work in the same steps.

    Process 0 is the leader itself. `start(number)` is called in each process and returns what this
    process does in each phase of a step. A step ends when all have done its last phase.
    """

    def __init__(self, start: Start, methods: Sequence[Method]) -> None:
        super().__init__()
        try:
            for number, method in enumerate(methods, start=1):
                self.hire(partial(_serve, start, number), method)
            self._own = start(0)
            self._await()
        except BaseException:
            self._end()
            raise

    def step(self, step: int, phases: int = 1) -> None:
        """Carry out one step, each phase in all processes at the same time."""
        for phase in range(phases):
            for line in self.lines:
                line.send_bytes(_ORDER.pack(step, phase))
            self._own(step, phase)
            self._await()

    def _await(self) -> None:
        for number, line in enumerate(self.lines, start=1):
            try:
                complaint = line.recv_bytes()
            except (EOFError, ConnectionError) as error:
                raise Damage(f"Process {number} ended before its work was done.") from error
            if complaint:
                raise Damage(complaint.decode())


def fork(body: Callable[[], None]) -> int:
    """Run `body` in a new process that dies with this one, and return its number."""
    parent = os.getpid()
    _libc()  # loaded once, not in each of a thousand children
    if child := os.fork():
        return child
    status = 1
    try:
        _settle(parent)
        body()
        status = 0
    except BaseException:  # whatever it is, no more of the parent's code may run here
        traceback.print_exc()
    finally:
        os._exit(status)


def _process(method: Method, target: Callable[[], None]) -> BaseProcess:
    if method == "fork":
        return multiprocessing.get_context("fork").Process(target=target, daemon=True)
    return multiprocessing.get_context("spawn").Process(target=target, daemon=True)


def _live(parent: int, strange: list[Connection], line: Connection, body: Body) -> None:
    """Be a member, from the first breath to the end of its line."""
    _settle(parent)
    for other in strange:
        other.close()
    try:
        body(line)
    except Damage as found:
        raise SystemExit(str(found)) from found


def _serve(start: Start, number: int, line: Connection) -> None:
    """Carry out orders until the leader hangs up; an answer is empty, or says what is damaged."""
    work = start(number)
    answer = b""
    while True:
        try:
            line.send_bytes(answer)
            step, phase = _ORDER.unpack(line.recv_bytes())
        except (EOFError, ConnectionError):
            return
        try:
            work(step, phase)
        except Damage as found:
            answer = str(found).encode()


def _settle(parent: int) -> None:
    """Tie this process to its parent's life, and leave it to the parent to be told to stop."""
    for number in STOP:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)  # the parent's, if it has one
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was told
        os._exit(1)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
