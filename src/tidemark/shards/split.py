"""Splitting a config into parts that are runs of their own."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import yaml

from tidemark.config import load, resolve
from tidemark.config.source import read
from tidemark.errors import StorageError, TidemarkError
from tidemark.files import PUBLIC, storage_errors, sync_directory, write_bytes
from tidemark.shards.model import Shard, Share

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tidemark.config import Config


def split(configfile: Path, count: int, target: Path) -> list[Shard]:
    """Write ``count`` parts of a config to ``target``, each with results of its own there.

    :raises ConfigError: with all the mistakes of the config
    :raises StorageError: when ``target`` exists, or cannot be written
    :raises TidemarkError: when there are fewer workloads than parts
    """
    config = load(configfile)
    if count > len(config.workloads):
        raise TidemarkError(
            f"{configfile} has fewer workloads ({len(config.workloads)}) than there are to be "
            f"shards ({count}); give a --count of at most {len(config.workloads)}"
        )
    if os.path.lexists(target):
        raise StorageError(f"{target} exists; name a new directory with --to, or remove it")
    written = read(configfile).data or {}
    shards, texts = [], []
    for number, shares in enumerate(distribute(config, count), start=1):
        directory = target / f"shard-{number}"
        own = {
            **written,
            "results": str(directory / "results"),
            "workloads": {share.name: written["workloads"][share.name] for share in shares},
        }
        texts.append(yaml.safe_dump(own, sort_keys=False, allow_unicode=True).encode())
        digest = resolve(own, []).digest()
        shards.append(Shard(directory, number, count, config.digest(), digest, tuple(shares)))
    _publish(shards, texts, target)
    return shards


def _publish(shards: Sequence[Shard], texts: Sequence[bytes], target: Path) -> None:
    """Write all of it beside ``target``, and rename it there: all shards exist, or none."""
    beside = target.with_name(f".{target.name}.{os.urandom(6).hex()}.tmp")
    try:
        for shard, text in zip(shards, texts, strict=True):
            made = replace(shard, directory=beside / shard.directory.name)
            write_bytes(made.config, text, PUBLIC)
            made.write()
        with storage_errors(target):
            beside.rename(target)
            sync_directory(target.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def distribute(config: Config, count: int) -> Sequence[Sequence[Share]]:
    """Return the workloads in ``count`` parts with about as many epochs each.

    The ones with the most epochs are given out first, each to the part that has the fewest. Within
    a part they stand as in the config.
    """
    shares = [
        Share(name, workload.epochs, position)
        for position, (name, workload) in enumerate(config.workloads.items())
    ]
    parts: list[list[Share]] = [[] for _ in range(count)]
    for share in sorted(shares, key=lambda share: -share.epochs):
        min(parts, key=lambda part: sum(each.epochs for each in part)).append(share)
    return [sorted(part, key=lambda share: share.position) for part in parts]
