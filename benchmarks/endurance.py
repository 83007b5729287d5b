"""Keepers under a load that lasts: many at a time, many checkpoints of one, many processes.

usage: endurance.py keepers [--count 50] [--seconds 60] [--every 0.5]
       endurance.py checkpoints [--count 2000]
       endurance.py crowd [--processes 1000] [--clients 1000]

Each prints what it has seen as one JSON object, and ends with 1 where something failed: a
checkpoint, a keeper, or a program. Figures are in docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemark.checkpoint.keep import keep_last
from tidemark.checkpoint.keepers import connect
from tidemark.checkpoint.series import Series
from tidemark.checkpoint.take import Taker
from tidemark.errors import TidemarkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIDEMARK = str(Path(sys.executable).with_name("tidemark"))
MIB = 1 << 20
SAMPLES = 20

_STORES = """
import mmap, os, random, signal, sys, time
memory = mmap.mmap(-1, int(sys.argv[1]) * 4096)
memory[:] = bytes([1]) * len(memory)
for _ in range(int(sys.argv[2]) - 1):
    if os.fork() == 0:
        break
print("ready", flush=True)
while os.getppid() != 1:
    for _ in range(8):
        memory[random.randrange(len(memory))] = random.randrange(256)
    time.sleep(float(sys.argv[3]))
"""
"""A program of some pages and processes that stores to them now and then."""


@contextmanager
def program(pages: int, *, processes: int = 1, pause: float = 0.02) -> Iterator[int]:
    """Run a program; give its process id."""
    words = [sys.executable, "-c", _STORES, str(pages), str(processes), str(pause)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as started:
        assert started.stdout is not None  # noqa: S101 - for mypy
        for _ in range(processes):
            started.stdout.readline()
        try:
            yield started.pid
        finally:
            os.killpg(started.pid, signal.SIGKILL)


@contextmanager
def kept(pid: int, directory: Path) -> Iterator[Path]:
    """Keep a process; give the file that names its keeper."""
    run("keep", str(pid), "--directory", str(directory))
    try:
        yield directory / "keeper.json"
    finally:
        run("release", str(directory))


def run(*words: str) -> None:
    """Run a verb of ours.

    :raises TidemarkError: when it fails
    """
    done = subprocess.run([TIDEMARK, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise TidemarkError(f"{words[0]}: {done.stderr.strip()}")


def resident(pid: int) -> int:
    """Return how much memory a process has of its own, in bytes: not what it maps of others."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    return 0


def keeper_of(keeper_json: Path) -> int:
    """Return the keeper's process id."""
    return int(json.loads(keeper_json.read_text())["pid"])


# Many keepers


def keepers(directory: Path, *, count: int, seconds: float, every: float) -> dict[str, Any]:
    """Take checkpoints of many programs at a time, each by a client and a keeper of its own."""
    with ExitStack() as stack:
        directories = [directory / str(number) for number in range(count)]
        for each in directories:
            stack.enter_context(kept(stack.enter_context(program(256)), each))
        clients = [_client(each, every) for each in directories]
        time.sleep(seconds)
        for client in clients:
            client.send_signal(signal.SIGINT)
        said = [client.communicate() for client in clients]
    taken = [json.loads(line) for out, _ in said for line in out.splitlines()]
    failures = [
        err.strip()
        for client, (_, err) in zip(clients, said, strict=True)
        if client.returncode != 130
    ]
    return {
        "keepers": count,
        "checkpoints": len(taken),
        "least": min((len(out.splitlines()) for out, _ in said), default=0),
        "frozen_ms": _spread([1000 * one["frozen_seconds"] for one in taken]),
        "waited_ms": _spread([1000 * one["waited_seconds"] for one in taken]),
        "mishaps": sorted({mishap for one in taken for mishap in one["mishaps"]}),
        "failures": failures,
    }


def _client(directory: Path, every: float) -> subprocess.Popen[str]:
    words = ["checkpoint", str(directory), "--to", str(directory / "checkpoints"), "--json"]
    words += ["--every", f"{every}s", "--keep", "2"]
    return subprocess.Popen(
        [TIDEMARK, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values) or [0.0]
    return {
        "median": round(ordered[len(ordered) // 2], 2),
        "99 %": round(ordered[len(ordered) * 99 // 100], 2),
        "most": round(ordered[-1], 2),
    }


# Many checkpoints


def checkpoints(directory: Path, *, count: int) -> dict[str, Any]:
    """Take many checkpoints of one program; return what the keeper has in memory meanwhile."""
    with ExitStack() as stack:
        path = stack.enter_context(kept(stack.enter_context(program(1024)), directory / "keeper"))
        client = stack.enter_context(connect(path))
        series = stack.enter_context(Series(directory / "checkpoints"))
        taker, keeper = Taker(client, series, 1 << 30), keeper_of(path)
        memory, opened, due = [], [], max(1, count // SAMPLES)
        for number in range(count):
            taker.take()
            keep_last(series, 2)
            if number % due == due - 1:
                memory.append(resident(keeper))
                opened.append(len(list(Path(f"/proc/{keeper}/fd").iterdir())))
    return {
        "checkpoints": count,
        "resident_mib": [round(each / MIB, 2) for each in memory],
        "descriptors": opened,
        "failures": _grown(memory, opened),
    }


def _grown(memory: list[int], opened: list[int]) -> list[str]:
    """Return what grew from the first half to the second, beyond what an allocator may do."""
    half = len(memory) // 2
    found = []
    if max(memory[half:]) > max(memory[:half]) + MIB:
        found.append("the keeper's memory grows")
    if max(opened[half:]) > max(opened[:half]) + 2:  # one may be opened just now
        found.append("the keeper's descriptors grow")
    return found


# Many processes, and many clients


def crowd(directory: Path, *, processes: int, clients: int) -> dict[str, Any]:
    """Keep a program of many processes, with many clients that stay."""
    with ExitStack() as stack:
        pid = stack.enter_context(program(1024, processes=processes, pause=1.0))
        path = stack.enter_context(kept(pid, directory / "keeper"))
        silent = [stack.enter_context(connect(path)) for _ in range(clients)]
        client = stack.enter_context(connect(path))
        series = stack.enter_context(Series(directory / "checkpoints"))
        taker = Taker(client, series, 1 << 30)
        taken = [taker.take() for _ in range(10)]
        answers = [one.ask("status")[0] for one in silent]
    return {
        "processes": len(answers[0]["processes"]) if answers else processes,
        "clients": len(answers),
        "frozen_ms": _spread([1000 * one.frozen_seconds for one in taken[1:]]),
        "waited_ms": _spread([1000 * one.waited_seconds for one in taken[1:]]),
        "mishaps": [mishap for one in taken for mishap in one.mishaps],
        "failures": [one["why"] for answer in answers[:1] for one in answer["untracked"]],
    }


def main() -> int:
    """Run what is asked for, in a directory that is removed."""
    parser = argparse.ArgumentParser(description=__doc__, usage=argparse.SUPPRESS)
    what = parser.add_subparsers(dest="what", required=True)
    many = what.add_parser("keepers")
    many.add_argument("--count", type=int, default=50)
    many.add_argument("--seconds", type=float, default=60.0)
    many.add_argument("--every", type=float, default=0.5)
    long = what.add_parser("checkpoints")
    long.add_argument("--count", type=int, default=2000)
    crowded = what.add_parser("crowd")
    crowded.add_argument("--processes", type=int, default=1000)
    crowded.add_argument("--clients", type=int, default=1000)
    asked = vars(parser.parse_args())
    measures: dict[str, Callable[..., dict[str, Any]]] = {
        "keepers": keepers,
        "checkpoints": checkpoints,
        "crowd": crowd,
    }
    measure = measures[asked.pop("what")]
    directory = Path(tempfile.mkdtemp(prefix="tidemark-endurance-"))
    try:
        found = measure(directory, **asked)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(json.dumps(found, indent=1))  # noqa: T201 - the figures
    return bool(found["failures"])


if __name__ == "__main__":
    sys.exit(main())
