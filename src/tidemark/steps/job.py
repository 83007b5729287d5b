"""What every job's script does around its step: arguments, log, cost, errors."""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark import proc
from tidemark.console import guard
from tidemark.directories import PRIVATE, directory_mode, make_directory
from tidemark.errors import TidemarkError
from tidemark.files import open_log, storage_errors, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


INTERRUPTED_VARIABLE = "TIDEMARK_INTERRUPTED"
"""Set in the environment of jobs that a run starts though it was interrupted: they do nothing."""


@dataclass(frozen=True)
class Job:
    """The arguments of a script, given as ``name=value``.

    Words that follow without a name belong to the last one: a list.
    """

    name: str
    arguments: Mapping[str, str]
    lists: Mapping[str, Sequence[str]]

    def text(self, name: str) -> str:
        """Return an argument as it stands.

        :raises KeyError: when it was not given: a mistake in the rule
        """
        return self.arguments[name]

    def path(self, name: str) -> Path:
        """Return an argument as a path."""
        return Path(self.arguments[name])

    def optional_path(self, name: str) -> Path | None:
        """Return an argument as a path; None when it is absent or empty."""
        value = self.arguments.get(name, "")
        return Path(value) if value else None

    def paths(self, name: str) -> list[Path]:
        """Return an argument that is a list of paths."""
        return [Path(word) for word in self.lists.get(name, ())]

    def number(self, name: str) -> int:
        """Return an argument as an integer."""
        return int(self.arguments[name])


def run(step: Callable[[Job], None]) -> None:
    """Run a script's step and exit with its code.

    ``log=`` names a file that takes what is also printed to stderr; ``cost=`` one that takes
    what the job cost, if it succeeds.
    """
    lists = _parse(sys.argv[1:])
    job = Job(Path(sys.argv[0]).stem, {name: words[0] for name, words in lists.items()}, lists)
    _set_up_log(job)

    def measured() -> None:
        if INTERRUPTED_VARIABLE in os.environ:
            raise KeyboardInterrupt
        try:
            step(job)
        except TidemarkError as error:
            _note(job, f"tidemark: error: {error}")
            raise
        cost = job.optional_path("cost")
        if cost is not None:
            write_json(cost, {"step": job.name, **Meter.of_process().read()})

    sys.exit(guard(measured))


def _parse(words: Sequence[str]) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    name = ""
    for word in words:
        before, equals, after = word.partition("=")
        if equals and before.isidentifier():
            name = before
            lists[name] = [after]
        else:
            lists[name].append(word)
    return lists


def _set_up_log(job: Job) -> None:
    """Log to stderr, and to the job's own log file."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    log = job.optional_path("log")
    if log is not None:
        with storage_errors(log):
            make_directory(log.parent, directory_mode(PRIVATE))
            descriptor = open_log(log, anew=True)
        handlers.append(logging.StreamHandler(os.fdopen(descriptor, "w")))
    logging.basicConfig(level=logging.INFO, format="tidemark: %(message)s", handlers=handlers)
    if batch_job := os.environ.get("SLURM_JOB_ID"):
        node = os.environ.get("SLURMD_NODENAME", platform.node())
        _note(job, f"tidemark: batch job {batch_job} on {node}")


def _note(job: Job, line: str) -> None:
    """Write a line to the job's own log file."""
    log = job.optional_path("log")
    if log is not None:
        with os.fdopen(open_log(log), "w") as file:
            file.write(f"{line}\n")


@dataclass(frozen=True)
class Meter:
    """What this process costs from a moment on: ``begun``, on the clock of the boot, in seconds.

    ``cpu_begun``: the CPU seconds that it had taken until then.
    """

    begun: float
    cpu_begun: float

    @classmethod
    def of_process(cls) -> Meter:
        """Return one from this process's begin on."""
        return cls((proc.start_time(os.getpid()) or 0) / os.sysconf("SC_CLK_TCK"), 0.0)

    @classmethod
    def from_now(cls) -> Meter:
        """Return one from now on; the peak of this process's memory is forgotten."""
        Path("/proc/self/clear_refs").write_text("5")
        return cls(time.clock_gettime(time.CLOCK_BOOTTIME), time.process_time())

    def read(self) -> dict[str, float | int]:
        """Return seconds, CPU seconds, and the peak of the memory."""
        # Not getrusage(2): its peak is that of the process that forked us, if that was larger.
        peak = (proc.status_field(os.getpid(), "VmHWM") or "0 kB").split()[0]
        return {
            "seconds": round(time.clock_gettime(time.CLOCK_BOOTTIME) - self.begun, 3),
            "cpu_seconds": round(time.process_time() - self.cpu_begun, 3),
            "peak_memory_bytes": int(peak) * 1024,
        }
