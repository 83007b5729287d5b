"""Whether a cluster has what a run asks for: told before anything is submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemark.cluster.resources import live, offline
from tidemark.cluster.slurm import jobs_in, partitions
from tidemark.errors import BusyError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tidemark.cluster.resources import Resources
    from tidemark.cluster.slurm import Partition
    from tidemark.config import Config

_HOW = "`slurm_partition` below `default-resources` in the profile"
_UNITS = {"threads": "processors", "mem_mb": "MiB", "runtime": "minutes"}


def check(config: Config, partition: str | None, cores: int | None) -> None:
    """Fail where a batch job of a run could never start.

    :param partition: the one that the profile names
    :param cores: the most processors of one batch job, by the profile; None for any number
    :raises ConfigError: with all that is wrong
    :raises TidemarkError: when Slurm does not answer
    """
    target = _target(partition, partitions())
    found = list(_misfits(config, target, cores))
    if len(found) > 1:
        raise ConfigError("\n  ".join([f"the cluster lacks {len(found)} things:", *found]))
    if found:
        raise ConfigError(found[0])


def check_free(workflow: Path) -> None:
    """Fail where batch jobs of a run that was killed still work in the directory of a workflow.

    :raises BusyError: naming them
    :raises TidemarkError: when Slurm does not answer
    """
    left = " ".join(jobs_in(workflow))
    if left:
        raise BusyError(
            f"batch jobs of a former run still work on these results; wait for them, or: scancel "
            f"{left}"
        )


def _target(name: str | None, known: Mapping[str, Partition]) -> Partition:
    here = ", ".join(sorted(known)) or "none"
    if name is not None:
        if name not in known:
            raise ConfigError(f"there is no partition `{name}`; set {_HOW} to one of: {here}")
        return known[name]
    for partition in known.values():
        if partition.default:
            return partition
    raise ConfigError(
        f"the profile names no partition, and this cluster has no default one; set {_HOW} to one "
        f"of: {here}"
    )


def _misfits(config: Config, target: Partition, cores: int | None) -> Iterator[str]:
    for name in config.workloads:
        for what in _lacks(live(config, name), target):
            yield f"workloads.{name}.resources.{what}; ask for less, or set {_HOW}"
    side_by_side = cores or 1
    memory = max(offline(config, name).mem_mb for name in config.workloads) * side_by_side
    if not target.has(side_by_side, memory):
        yield (
            f"`cores: {side_by_side}` in the profile lets one batch job restore as many dumps at "
            f"once, in {memory} MiB, and no node of partition {target.name} has both; lower it"
        )


def _lacks(asked: Resources, target: Partition) -> Iterator[str]:
    """Yield what of ``asked`` the partition does not have."""
    most = {
        "threads": max(node.cpus for node in target.nodes),
        "mem_mb": max(node.mem_mb for node in target.nodes),
        "runtime": target.minutes,
    }
    over = {key: limit for key, limit in most.items() if limit and getattr(asked, key) > limit}
    for key, limit in over.items():
        yield (
            f"{key}: {getattr(asked, key)} {_UNITS[key]} are asked for, and partition "
            f"{target.name} has at most {limit}"
        )
    if not over and not target.has(asked.threads, asked.mem_mb):
        yield (
            f"mem_mb: {asked.mem_mb} MiB and {asked.threads} processors are asked for, and no node "
            f"of partition {target.name} has both"
        )
