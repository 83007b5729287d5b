"""What the batch jobs of a workload ask for: as its config says, or derived from it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.errors import TidemarkError
from tidemark.fields import FieldError, Fields
from tidemark.files import read_json

if TYPE_CHECKING:
    from tidemark.config import Config
    from tidemark.config.models import WorkloadSection

_LIVE_MB = 1024
"""For Snakemake, which is there twice, a step and a keeper, whatever they work on."""
_OFFLINE_MB = 512
"""For a step and the processes that it restores, and for Snakemake, if there is but one step."""
_UNKNOWN_MB = 512
"""For a workload of which nothing is known."""

_START_SECONDS = 60
"""For Snakemake's own start, from a file system that may be slow."""
_EPOCH_SECONDS = 15
"""For the seven steps of an epoch, apart from what they read and write."""
_MB_PER_SECOND = 50
"""How much a shared file system takes in at the least."""


@dataclass(frozen=True)
class Resources:
    """``threads``; ``mem_mb`` in MiB, of a node; ``runtime`` in minutes."""

    threads: int
    mem_mb: int
    runtime: int


def live_threads(config: Config, name: str) -> int:
    """Return how many threads each step of a workload's live part takes."""
    return config.workloads[name].resources.threads or config.live_threads


def live(config: Config, name: str) -> Resources:
    """Return what the live part of a workload needs, from keep to seal: one batch job.

    Its memory is that of the workload, once more for the copies of the keeper. Its time is the
    longest that it can take before a time-out of its own ends it.
    """
    workload = config.workloads[name]
    asked, shared = workload.resources, _shared_mb(config, name)
    memory = _LIVE_MB + 2 * (shared or _UNKNOWN_MB)
    seconds = _live_seconds(workload) + workload.epochs * (shared or 0) / _MB_PER_SECOND
    return Resources(
        threads=live_threads(config, name),
        mem_mb=asked.mem_mb or memory,
        runtime=asked.runtime or ceil(seconds / 60),
    )


def offline(config: Config, name: str) -> Resources:
    """Return what one restore or verify of a workload needs: it reads the whole memory."""
    shared = _shared_mb(config, name)
    memory = _OFFLINE_MB + (shared or _UNKNOWN_MB)
    seconds = _START_SECONDS + 2 * (shared or 0) / _MB_PER_SECOND
    return Resources(threads=1, mem_mb=memory, runtime=ceil(seconds / 60))


def _live_seconds(workload: WorkloadSection) -> float:
    quantum = workload.advance.seconds or workload.timeout
    check = workload.timeout if workload.check else 0
    epochs = workload.epochs * (quantum + _EPOCH_SECONDS)
    return _START_SECONDS + workload.timeout + epochs + check + workload.stop.grace


def _shared_mb(config: Config, name: str) -> int | None:
    """Return how much memory a workload shares: as declared, or as its last dump has it."""
    workload = config.workloads[name]
    return workload.resources.shared_mb or _dumped_mb(Path(config.results, name), workload.epochs)


def _dumped_mb(results: Path, epochs: int) -> int | None:
    """Return how much memory the last image in a workload's results has, in MiB."""
    for epoch in reversed(range(epochs if results.exists() else 0)):
        # What is damaged is told where it is used.
        with suppress(TidemarkError, FieldError):
            manifest = Fields(read_json(results / f"e{epoch}/image/manifest.json"))
            regions = manifest.groups("regions")
            pages = sum(region.whole("present") + region.whole("in_parent") for region in regions)
            return ceil(pages * manifest.page_size("page_size") / (1 << 20))
    return None
