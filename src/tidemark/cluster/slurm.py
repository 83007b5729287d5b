"""What Slurm says: of its partitions, and of what became of a batch job."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.errors import TidemarkError

if TYPE_CHECKING:
    from collections.abc import Sequence

OUT_OF_MEMORY = "OUT_OF_MEMORY"
_TOO_LARGE = re.compile(r"exceeded (job )?memory limit|oom[- _]kill", re.IGNORECASE)


@dataclass(frozen=True)
class Node:
    """What a node has: ``cpus``, and ``mem_mb`` in MiB."""

    cpus: int
    mem_mb: int


@dataclass(frozen=True)
class Partition:
    """A partition, with the nodes that it has; ``minutes`` is the limit on a job, None for none."""

    name: str
    default: bool
    minutes: int | None
    nodes: tuple[Node, ...]

    def has(self, cpus: int, mem_mb: int) -> bool:
        """Return whether any node has as many processors and as much memory."""
        return any(node.cpus >= cpus and node.mem_mb >= mem_mb for node in self.nodes)


def partitions() -> dict[str, Partition]:
    """Return the partitions of this cluster by name.

    :raises TidemarkError: when Slurm does not answer
    """
    found: dict[str, Partition] = {}
    for line in _ask("sinfo", "--noheader", "--Node", "--format=%P|%c|%m|%l").splitlines():
        name, cpus, memory, limit = line.split("|")
        node = Node(int(cpus.rstrip("+")), int(memory.rstrip("+")))
        plain = name.rstrip("*")
        before = found[plain].nodes if plain in found else ()
        found[plain] = Partition(plain, name.endswith("*"), minutes(limit), (*before, node))
    return found


def minutes(limit: str) -> int | None:
    """Return a limit as Slurm writes it (``1-02:00:00``, ``30:00``) in minutes; None for none."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):\d+", limit)
    if not match:
        return None
    days, hours, left = (int(part or 0) for part in match.groups())
    return (days * 24 + hours) * 60 + left


def jobs_in(workflow: Path) -> list[str]:
    """Return this user's batch jobs that Snakemake has submitted for groups of a workflow.

    :raises TidemarkError: when Slurm does not answer
    """
    told = _ask("squeue", "--me", "--noheader", "--format=%A|%Z|%k").splitlines()
    lines = [line.split("|", 2) for line in told]
    return [
        job
        for job, directory, comment in lines
        if comment.startswith(("rule_live_", "rule_offline_")) and Path(directory) == workflow
    ]


def cancel(jobs: Sequence[str]) -> None:
    """Cancel batch jobs.

    :raises TidemarkError: when Slurm does not answer
    """
    if jobs:
        _ask("scancel", *jobs)


def state_of(job: str) -> str | None:
    """Return the state of a batch job, such as TIMEOUT; None where Slurm has forgotten it."""
    try:
        told = _ask("scontrol", "--oneliner", "show", "job", job)
    except TidemarkError:
        return _accounted(job)
    words = dict(word.split("=", 1) for word in told.split() if "=" in word)
    state = words.get("JobState", "UNKNOWN")
    if state == "FAILED" and _was_too_large(Path(words.get("StdOut", ""))):
        state = OUT_OF_MEMORY
    return state


def is_running(job: str) -> bool:
    """Return whether a batch job has processes on its nodes, as far as Slurm says."""
    return state_of(job) in {"RUNNING", "COMPLETING", "SUSPENDED"}


def _was_too_large(log: Path) -> bool:
    """Return whether a job's log tells of too much memory.

    Where that is found out by looking now and then, it is one step that Slurm ends, and not the job
    that is called out of memory.
    """
    try:
        return bool(_TOO_LARGE.search(log.read_text(errors="replace")))
    except OSError:
        return False


def _accounted(job: str) -> str | None:
    """Return the state of a batch job by Slurm's accounting, where there is one."""
    words = ("--allocations", "--noheader", "--parsable2", "--format=State", f"--jobs={job}")
    try:
        told = _ask("sacct", *words).split()
    except TidemarkError:
        return None
    return told[0] if told else None


def _ask(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        raise TidemarkError(
            f"{words[0]} is not found on PATH; submit from a machine of the cluster"
        ) from None
    except subprocess.TimeoutExpired:
        raise TidemarkError(f"Slurm does not answer: {words[0]} took more than 60 s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"it exited with code {done.returncode}"]
        raise TidemarkError(f"Slurm does not answer: {said[-1]}")
    return done.stdout
