"""A program that is kept, its series of checkpoints, and commands of which one call fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from points import points_of

from tidemark import proc
from tidemark.errors import ImageError
from tidemark.image.chain import Chain
from tidemark.image.check import check_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from points import Point

TIDEMARK = str(Path(sys.executable).with_name("tidemark"))
PROGRAM = Path(__file__).with_name("deeds.py")
PATIENCE = 60

_FOLLOWED = {"keep": ("-D", "-f", "--seccomp-bpf")}
"""Verbs that start a process which outlives them: strace is not to be waited for."""


class HarmError(AssertionError):
    """What must not be, after a fault."""


class Scene:
    """One program and its keeper, in a ``directory``; a context manager."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.series = directory / "series"
        self._memory = Path("/dev/shm", f"tidemark-faults-{os.getpid()}-{directory.name}")
        self._program = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(self._memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        self._expect("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._program.kill()
        self._program.communicate()
        self._memory.unlink(missing_ok=True)

    def _expect(self, word: str) -> None:
        assert self._program.stdout is not None
        line = self._program.stdout.readline()
        if line != f"{word}\n":
            raise HarmError(f"the program said {line!r}, not {word}")

    def deed(self) -> None:
        """Have the program store to its memory.

        :raises HarmError: when it does not
        """
        signal.alarm(PATIENCE)  # a program that stands answers never
        assert self._program.stdin is not None
        with suppress(BrokenPipeError):
            self._program.stdin.write("\n")
            self._program.stdin.flush()
        self._expect("done")
        signal.alarm(0)

    def keeper(self) -> int:
        """Return the process id of the keeper: who traces the program; 0 for nobody."""
        return int(proc.status_field(self._program.pid, "TracerPid") or 0)

    def words(self, verb: str) -> list[str]:
        """Return the command line of a verb in this scene."""
        kept = str(self.directory / "kept")
        words: dict[str, list[str]] = {
            "keep": ["keep", str(self._program.pid), "--directory", kept],
            "checkpoint": ["checkpoint", kept, "--to", str(self.series)],
            "checkpoint --keep": ["checkpoint", kept, "--to", str(self.series), "--keep", "2"],
            "restore": [
                "restore",
                str(self._newest().parent.parent),
                "--to",
                str(self.directory / "out"),
            ],
            "release": ["release", kept],
        }
        return words[verb]

    def _newest(self) -> Path:
        return max(self.checkpoints(), default=self.series)

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints that are there, oldest first."""
        return sorted(self.series.glob("[0-9]*/image/manifest.json"))

    def run(self, verb: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end, undisturbed."""
        return _run([TIDEMARK, *self.words(verb)])

    def must(self, verb: str) -> None:
        """Run a verb, which must succeed.

        :raises HarmError: when it does not
        """
        done = self.run(verb)
        if done.returncode:
            raise HarmError(f"the next {verb} fails: {done.stderr.strip()[-300:]}")

    def points(self, verb: str) -> list[Point]:
        """Return the points of a verb at which a call can fail."""
        log = self.directory / "trace"
        options = [*_FOLLOWED.get(verb, ()), "-y", "-o", str(log)]
        done = _run(["strace", *options, TIDEMARK, *self.words(verb)])
        assert done.returncode == 0, done.stderr
        return points_of(log.read_text(errors="replace").splitlines())

    def fail(self, verb: str, point: Point) -> subprocess.CompletedProcess[str]:
        """Run a verb of which one call fails, to its end."""
        quiet = ("-qq", "-o", os.devnull, "-e", f"trace={point.call}")
        options = [*_FOLLOWED.get(verb, ()), *quiet, "-e", point.injection]
        return _run(["strace", *options, TIDEMARK, *self.words(verb)])

    def verify(self, done: subprocess.CompletedProcess[str]) -> None:
        """Check what must hold after a fault.

        :raises HarmError: when something does not
        """
        said = [line for line in done.stderr.splitlines() if line.strip()]
        if "Traceback" in done.stderr:
            raise HarmError(f"a traceback: {said[-1]}")
        if done.returncode < 0:
            raise HarmError(f"killed by signal {-done.returncode}")
        if done.returncode and not (said and said[-1].startswith("tidemark: error: ")):
            raise HarmError(f"exit code {done.returncode}, and no sentence: {said[-1:]}")
        self.deed()
        for manifest in self.checkpoints():
            try:
                check_image(manifest.parent)
            except ImageError as error:
                raise HarmError(f"the chain is damaged: {error}") from error

    def verify_newest(self) -> None:
        """Hold the newest checkpoint against the memory, in which nothing was stored since.

        :raises HarmError: when they differ
        """
        image = self._newest().parent
        with Chain(image) as chain:
            region = chain.region(chain.regions()[0])
            held = region.source.read(0, region.pages)
        if held != self._memory.read_bytes():
            raise HarmError(f"{image} is not what is in memory")

    def keep_again(self) -> None:
        """Keep the program again, where its keeper has gone.

        :raises HarmError: when that fails
        """
        if not self.keeper():
            shutil.rmtree(self.directory / "kept", ignore_errors=True)
            self.must("keep")


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # Files, not pipes: what lives on, such as a keeper, would keep these open.
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=said)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise HarmError(f"no end within {PATIENCE} s") from None
        texts = [_text_of(file.fileno()) for file in (told, said)]
    return subprocess.CompletedProcess(command, code, *texts)


def _text_of(descriptor: int) -> str:
    return os.pread(descriptor, 1 << 20, 0).decode(errors="replace")


class Injected:
    """A process of which one call fails from now on; a context manager."""

    def __init__(self, pid: int, point: Point | None, log: Path) -> None:
        options = ["-e", f"trace={point.call}", "-e", point.injection] if point else ["-y"]
        self._strace = subprocess.Popen(
            ["strace", "-p", str(pid), "-o", str(log), *options], stderr=subprocess.PIPE, text=True
        )
        self._pid = pid

    def __enter__(self) -> Self:
        deadline = time.monotonic() + PATIENCE
        while proc.status_field(self._pid, "TracerPid") != str(self._strace.pid):
            if self._strace.poll() is not None or time.monotonic() > deadline:
                raise HarmError("strace does not trace")
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._strace.send_signal(signal.SIGINT)
        self._strace.communicate()
