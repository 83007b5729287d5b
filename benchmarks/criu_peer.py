"""CRIU as a peer, where one is installed that works: its dump of the same processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subjects import HERE, MEMORY, Program, kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Sample = dict[str, float]


class LackingError(Exception):
    """What is to be measured is not on this machine."""


def lacking() -> str | None:
    """Return why CRIU cannot be measured here, by its own check; None where it can."""
    for program in ("criu", "crit"):
        if shutil.which(program) is None:
            return f"{program} is not installed here"
    done = subprocess.run(["criu", "check"], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    said = [line for line in done.stderr.splitlines() if "Error" in line] or ["no reason given"]
    return f"the CRIU that is installed here fails its own check ({said[0].strip()})"


def criu(options: dict[str, Any], pairs: int) -> Iterator[Sample]:
    """Measure the frozen window of a checkpoint; that of a dump by CRIU, which goes on after it.

    :raises LackingError: where there is no CRIU that works
    """
    if why := lacking():
        raise LackingError(why)
    words = (options["mib"], options["processes"], options["share"])
    # CRIU dumps a session only as a whole.
    program = Program("setsid", sys.executable, str(HERE / "target.py"), *words)
    with kept(words, "auto") as ours, program as theirs:
        ours.taker.take()
        ours.step()
        for _ in range(pairs):
            taken = ours.step()
            theirs.ask()
            yield {"ours": taken.frozen_seconds, "peer": _dump(theirs.process.pid)}


def _dump(pid: int) -> float:
    """Have CRIU dump a tree to memory; return for how many seconds that stood, by its own count."""
    with tempfile.TemporaryDirectory(prefix="tidemark-bench-", dir=MEMORY) as directory:
        command = ["criu", "dump", "--tree", str(pid), "--images-dir", directory]
        command += ["--leave-running", "--log-file", "dump.log"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            log = (Path(directory) / "dump.log").read_text(errors="replace")[-2000:]
            raise SystemExit(f"criu dump ended with {done.returncode}:\n{log}")
        return _frozen_seconds(Path(directory) / "stats-dump")


def _frozen_seconds(stats: Path) -> float:
    command = ["crit", "decode", "-i", str(stats)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    microseconds: int = json.loads(told.stdout)["entries"][0]["dump"]["frozen_time"]
    return microseconds / 1e6


MEASURES: dict[str, Callable[[dict[str, Any], int], Iterator[Sample]]] = {"criu": criu}
