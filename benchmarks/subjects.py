"""What is measured: programs that run beside us, answer lines, and end when we do."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tidemark.checkpoint.keepers import KEEPER_JSON, connect
from tidemark.checkpoint.series import Series
from tidemark.checkpoint.take import Taken, Taker
from tidemark.files import write_json
from tidemark.keeper.launch import OWNER_VARIABLE, launch
from tidemark.keeper.main import CHECKPOINTS
from tidemark.workload import Advance, Policy, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent
PEERS = Path("build/peers", platform.node())
"""Each node has its own: they are compiled for its processor."""
MEMORY = Path("/dev/shm")  # noqa: S108 - a file system in memory is what is measured
MOST_COPIED = 2 << 30
"""Bytes of memory for the copies of a checkpoint: one in full of 8 GiB is written frozen."""
DISK = Path("build")
"""Where checkpoints go that memory does not hold beside their subject and its peer."""


class Program:
    """A program that says `ready`, and answers each line with one; a context manager."""

    def __init__(self, *command: str | float) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process: subprocess.Popen[str] = subprocess.Popen(list(map(str, command)), **pipes)  # type: ignore[call-overload]
        self._read()

    def ask(self) -> list[float]:
        """Have it do its thing once; return the numbers that it answers."""
        assert self.process.stdin is not None  # noqa: S101 - for mypy
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self._read()
        return [] if answer == "done" else [float(word) for word in answer.split()]

    def _read(self) -> str:
        assert self.process.stdout is not None  # noqa: S101 - for mypy
        line = self.process.stdout.readline().strip()
        if not line:
            raise SystemExit(f"{self.process.args!r} ended: see its message above")
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def peer(name: str, *words: str | float) -> Program:
    """Start a peer, compiled when its source is newer."""
    source, binary = HERE / "peers" / f"{name}.c", PEERS / name
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        PEERS.mkdir(parents=True, exist_ok=True)
        flags = [
            "-std=gnu11",
            "-O2",
            "-march=native",
            "-pthread",
            "-I",
            str(HERE.parent / "native"),
        ]
        subprocess.run(["cc", *flags, "-o", str(binary), str(source)], check=True)
    return Program(str(binary), *words)


def target(*words: str | float) -> Program:
    """Start the program whose checkpoints are taken."""
    return Program(sys.executable, str(HERE / "target.py"), *words)


class Kept:
    """A target, its keeper, and checkpoints of it in memory."""

    def __init__(self, target: Program, directory: Path, taker: Taker, keeper: int) -> None:
        self.target = target
        self.directory = directory
        self.taker = taker
        self.keeper = keeper

    def step(self) -> Taken:
        """Have the target write its share, and take a checkpoint."""
        self.target.ask()
        return self.taker.take()


def workload(pid: int, tracker: str = "uffd-wp") -> Workload:
    """Return a process that runs already as a workload."""
    return Workload(
        name="bench",
        run=None,
        attach_pid=pid,
        attach_pidfile=None,
        epochs=0,
        advance=Advance(None, None, None),
        tracker=tracker,
        policy=Policy(),
        ready=None,
        timeout=60.0,
        stop_signal="KILL",
        stop_grace=1.0,
        check=None,
        env={},
    )


@contextmanager
def kept(
    words: Sequence[str | int | float], tracker: str = "uffd-wp", place: Path = MEMORY
) -> Iterator[Kept]:
    """Keep a target, and give it back without a checkpoint taken yet; they go to ``place``."""
    directory = Path(tempfile.mkdtemp(prefix="tidemark-bench-", dir=place)).absolute()
    os.environ[OWNER_VARIABLE] = str(os.getpid())
    try:
        with target(*words) as program:
            found = launch(
                workload(program.process.pid, tracker).to_json(), directory / "keeper", CHECKPOINTS
            )
            write_json(directory / "keeper" / KEEPER_JSON, found)
            with (
                connect(directory / "keeper" / KEEPER_JSON) as client,
                Series(directory / "series") as series,
            ):
                yield Kept(program, directory, Taker(client, series, MOST_COPIED), found["pid"])
    finally:
        shutil.rmtree(directory)
