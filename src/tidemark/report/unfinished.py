"""Why a workload did not get to its end, by the logs of its steps and by Slurm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.bounded import DecodingError, read_regular

if TYPE_CHECKING:
    from collections.abc import Iterator

EPOCH_STEPS = ("clear", "advance", "collect", "merge", "dump", "restore", "verify")

ERROR = "tidemark: error: "
"""What a step's last line begins with, in its log, when it failed."""
BATCH_JOB = re.compile(r"^tidemark: batch job (\d+) on (\S+)$", re.MULTILINE)
"""A line of each step's log, where it ran in one."""

_BATCH_LOGS = Path(".snakemake", "slurm_logs")
"""Where Snakemake has the output of batch jobs that failed, below the directory of the workflow."""
_MOST_OF_LOG = 64 << 20
_NOT_BEGUN = ("it did not begin",)

_ENDINGS = {
    "TIMEOUT": "ran out of time; raise `resources.runtime`",
    "OUT_OF_MEMORY": "ran out of memory; raise `resources.mem_mb`",
    "NODE_FAIL": "lost its node; run again",
    "CANCELLED": "was cancelled; run again",
    "PREEMPTED": "was preempted; run again",
}


def logs(results: Path, name: str, epochs: int) -> Iterator[tuple[str, Path]]:
    """Yield the logs of the steps of a workload that did not succeed, in their order, by name."""
    home = results / name
    ends = (home / "live.json").exists()
    whole = [("live part", home / "log" / "live.log"), ("keep", home / "log" / "keep.log")]
    steps = [] if ends else whole
    for epoch in range(epochs):
        directory = home / f"e{epoch}"
        steps += [
            (f"{step} of epoch {epoch}", directory / "log" / f"{step}.log")
            for step in EPOCH_STEPS
            if not (directory / "cost" / f"{step}.json").exists()
        ]
    steps += [] if ends else [("seal", home / "log" / "seal.log")]
    yield from ((step, log) for step, log in steps if log.exists())


def reasons(results: Path, name: str, epochs: int) -> tuple[str, ...]:
    """Return why a workload did not get to its end, a sentence each; none where it did."""
    if is_finished(results, name, epochs):
        return ()
    texts = [(step, _text_of(log)) for step, log in logs(results, name, epochs)]
    texts = [(step, text) for step, text in texts if text]  # Snakemake makes those of all to come
    said = tuple(f"{step}: {error}" for step, text in texts for error in _errors(text))
    if said:
        return said
    if not texts:
        return _not_begun(name)
    step, text = texts[-1]
    job = BATCH_JOB.search(text)
    return (_ended_in(step, *job.groups()) if job else f"it was ended in {step}",)


def _text_of(log: Path) -> str:
    """Return what a job has said; nothing where that is no log, or not of a job of ours."""
    try:
        return read_regular(log, _MOST_OF_LOG, text=False).decode(errors="replace")
    except (OSError, DecodingError):
        return ""


def _errors(text: str) -> list[str]:
    lines = text.splitlines()
    return [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]


def _not_begun(name: str) -> tuple[str, ...]:
    """Return why no step began, by what the last batch job of the live part printed."""
    logs = _BATCH_LOGS.glob(f"group_live_{name}_advance_*/*.log")
    for log in sorted(logs, key=lambda path: path.stat().st_mtime, reverse=True)[:1]:
        if errors := _errors(_text_of(log)):
            return tuple(dict.fromkeys(errors))
    return (f"it did not begin; see {_BATCH_LOGS}",) if _BATCH_LOGS.exists() else _NOT_BEGUN


def is_finished(results: Path, name: str, epochs: int) -> bool:
    """Return whether a workload has been run, and all of its dumps verified."""
    verified = (results / name / f"e{epoch}" / "verify.json" for epoch in range(epochs))
    return (results / name / "live.json").exists() and all(path.exists() for path in verified)


def _ended_in(step: str, job: str, node: str) -> str:
    from tidemark.cluster.slurm import state_of

    state = state_of(job) or "Slurm has forgotten it"
    what = _ENDINGS.get(state, f"did not end well ({state})")
    return f"{step}: batch job {job} on {node} {what}"
