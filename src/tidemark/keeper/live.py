"""A workload's processes, memory and surroundings: what every step of a session works on."""

from __future__ import annotations

import logging
import os
import resource
from typing import TYPE_CHECKING, Any

from tidemark.keeper.aside import Aside
from tidemark.keeper.births import Births
from tidemark.keeper.careful import Careful
from tidemark.keeper.launch import OWNER_VARIABLE
from tidemark.keeper.loop import Loop
from tidemark.keeper.mishaps import Mishaps, describe
from tidemark.keeper.pace import Pace
from tidemark.keeper.quantum import Command, StepSocket
from tidemark.keeper.trackers import AUTO, choose_tracker
from tidemark.keeper.tracking import Tracking
from tidemark.keeper.tree import Ending, Tree
from tidemark.keeper.watched import VARIABLE as WATCHDOG_VARIABLE
from tidemark.keeper.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tidemark.keeper.spawn import FileLimits
    from tidemark.workload import Workload

log = logging.getLogger(__name__)


class Live:
    """What is resident of one workload.

    :param directory: where the output of the workload and of its commands is kept
    :param owner: the pid of the process with which all of this ends; None for no one
    :param outlives: whether a workload that we start is to run on when this process is killed
    :param streams: the standard streams of a workload that we start; none: its output is kept, and
        it is ready only when it shares memory
    :raises TrackerError: when the machine lacks the tracker that the workload asks for
    """

    def __init__(
        self,
        workload: Workload,
        directory: Path,
        owner: int | None,
        *,
        outlives: bool = False,
        streams: tuple[int, ...] = (),
    ) -> None:
        self.workload = workload
        self.outlives = outlives
        self.streams = streams
        self.tracker, self.tracker_reason = choose_tracker(workload.tracker)
        self.output = directory / "output.log"
        self.command_output = directory / "command.log"
        self.started = workload.run is not None
        ours = {OWNER_VARIABLE, WATCHDOG_VARIABLE}
        kept = {name: value for name, value in os.environ.items() if name not in ours}
        self.env = {**kept, **workload.env}
        self.limits = _lift_file_limit()
        self.hold = workload.hold
        self.mishaps = Mishaps()
        self.watched = Watched()
        self.pace = Pace(self.watched)
        self.tracking = Tracking(self.tracker, self.mishaps, yields=workload.tracker == AUTO)
        self.births = Births()
        if self.births.lacking:
            log.warning(
                "the kernel does not report births (%s): a process that is made with "
                "CLONE_UNTRACED is found only while it lives; run as root, or with CAP_PERFMON",
                self.births.lacking,
            )
        self.observer = Careful(self.tracking, self.mishaps)
        self.tree = Tree(
            self.observer,
            kill_with_tracer=self.started and not outlives,
            other_ended=self._on_other_ended,
            births=self.births,
            pace=self.pace,
        )
        # What ends a batch job is sent to all of its processes: it is for the owner to say when.
        self.loop = Loop(
            owner,
            self.tree.pump,
            self.tree.wake_after,
            heeds_signals=not streams,
            pace=self.pace,
        )
        self.aside = Aside(self.loop)
        self.tracking.aside = self.aside
        self.watched.listen(self.loop)
        self.loop.add(self.births.fileno(), self._hear_births)
        self.loop.add_urgent(self.tracking.notices.fileno(), self.tracking.attend)
        self.steps = StepSocket()
        self._commands: dict[int, Command] = {}

    def serve(self) -> None:
        """Let go who waits for the keeper, where that has not just been done.

        :raises Ended: when the keeper is to end
        """
        if self.pace.is_due():
            self.loop.serve()

    def untracked(self) -> list[dict[str, Any]]:
        """Return which processes share memory and are not under the tracker, each with the reason.

        All that they may write is compared with the parent.
        """
        return [
            {"number": process.number, "pid": process.pid, "why": why}
            for process, why in self.tracking.untracked(self.tree)
        ]

    def _hear_births(self) -> None:
        """Hear which processes were born; where that fails, nobody reports any more."""
        try:
            self.births.hear()
        except Exception as error:
            self.births.fail(describe(error))
            self.observer.missed("births are not reported any more", error)

    @property
    def asks_for_steps(self) -> bool:
        """Whether the program is one that asks for leave before each of its steps."""
        ready = self.workload.ready
        return self.workload.advance.steps is not None or bool(ready and ready.step)

    @property
    def follows(self) -> str:
        """By what births are known: ``ptrace+reports``, or ``ptrace`` alone."""
        return "ptrace" if self.births.lacking else "ptrace+reports"

    def gone(self) -> bool:
        """Return whether the workload's first process has ended."""
        return self.tree.root_ending is not None

    def shares_memory(self) -> bool:
        """Return whether any process maps shared memory."""
        return any(self.tracking.mappings(process) for process in self.tree.in_order())

    def run_command(self, argv: Sequence[str]) -> Command:
        """Start a command of the config beside the workload.

        :raises WorkloadError: when it cannot be executed
        """
        command = Command.start(argv, self.env, self.command_output, self.limits)
        self._commands[command.pid] = command
        return command

    def stop_tracking(self) -> None:
        """Leave the workload's memory as if it had never been tracked."""
        if self.tracking.notices.fileno() >= 0:
            self.loop.remove(self.tracking.notices.fileno())
        self.tracking.close()

    def stop_commands(self) -> None:
        """Kill the commands that still run."""
        for command in self._commands.values():
            command.stop()

    def _on_other_ended(self, pid: int, ending: Ending) -> None:
        if pid in self._commands:
            self._commands.pop(pid).ending = ending


def _lift_file_limit() -> FileLimits:
    """Allow this process as many open files as it may have; return what it was allowed.

    It holds some for each process and each region of the workload.
    """
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    return before
