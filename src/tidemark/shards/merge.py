"""Merging the summaries of shards that have run into one report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemark.errors import StorageError, TidemarkError, VerifyError
from tidemark.report import Outputs, write_joint_report
from tidemark.report.summary import write_frame
from tidemark.shards.model import read_shard

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from polars import DataFrame

    from tidemark.shards.model import Shard


@dataclass(frozen=True)
class _Summary:
    """The rows of a shard, and the version that made them."""

    shard: Shard
    rows: DataFrame
    version: str


def merge(directories: Iterable[Path], target: Path) -> int:
    """Write one report and both summaries to ``target``; return the number of workloads.

    Rows are as the shards' Parquet files have them, in the order of the config that was split.

    :param directories: of all its shards, in any order, or one that holds them
    :raises StorageError: when ``target`` exists, or cannot be written
    :raises TidemarkError: when they are not the shards of one config, made by one version
    :raises VerifyError: naming all that failed verification
    """
    if target.exists():
        raise StorageError(f"{target} exists; name a new directory with --to, or remove it")
    shards = _complete([read_shard(one) for one in _expanded(directories)])
    summaries = [_summary(shard) for shard in shards]
    _check_versions(summaries)
    outputs = Outputs.below(target)
    write_frame(outputs.parquet, _in_order(summaries), shards[0].whole)
    runs = sorted(
        ((share.position, shard.results, share) for shard in shards for share in shard.shares),
        key=lambda run: run[0],
    )
    problems = write_joint_report(
        [(results, share.name, share.epochs) for _, results, share in runs], outputs
    )
    if problems:
        raise VerifyError(f"verification failed; see {target}: {'; '.join(problems)}")
    return len(runs)


def _expanded(directories: Iterable[Path]) -> list[Path]:
    """Return the directories, in the place of one that holds shards those that it holds."""
    found: list[Path] = []
    for directory in directories:
        found += sorted(directory.glob("shard-*")) or [directory]
    return found


def _complete(shards: Sequence[Shard]) -> list[Shard]:
    """Return the shards by number: all of one config, and each of them once."""
    first = shards[0]
    by_number: dict[int, Shard] = {}
    for shard in shards:
        if (shard.whole, shard.of) != (first.whole, first.of):
            raise TidemarkError(
                f"{first.directory} and {shard.directory} are shards of different configs; merge "
                "what one `tidemark shard` has made"
            )
        if shard.number in by_number:
            other = by_number[shard.number].directory
            raise TidemarkError(
                f"{other} and {shard.directory} are both shard {shard.number}; name one of them"
            )
        by_number[shard.number] = shard
    if missing := [str(n) for n in range(1, first.of + 1) if n not in by_number]:
        raise TidemarkError(
            f"of {first.of} shards {', '.join(missing)} is missing; name its directory, too"
        )
    return [by_number[number] for number in sorted(by_number)]


def _summary(shard: Shard) -> _Summary:
    """Return the summary of a shard that has run to its end, as its config is now."""
    import polars

    path, again = shard.results / "summary.parquet", f"tidemark run --configfile {shard.config}"
    if not path.is_file():
        raise TidemarkError(f"{path} is missing; run that shard to its end: {again}")
    try:
        made, rows = polars.read_parquet_metadata(path), polars.read_parquet(path)
    except (polars.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise TidemarkError(f"{path} is damaged ({reason}); remove it and run: {again}") from error
    if made.get("config") != shard.own:
        raise TidemarkError(
            f"{path} was made from another config than the shard's; run it again: {again}"
        )
    return _Summary(shard, rows, made.get("tidemark", "unknown"))


def _check_versions(summaries: Sequence[_Summary]) -> None:
    first = summaries[0]
    for other in summaries:
        if (other.version, other.rows.schema) != (first.version, first.rows.schema):
            raise TidemarkError(
                f"{first.shard.results} is of Tidemark {first.version} and {other.shard.results} "
                f"of {other.version}; run all shards by the same version"
            )


def _in_order(summaries: Sequence[_Summary]) -> DataFrame:
    """Return all rows, workload by workload as in the config that was split."""
    import polars

    parts = {
        name: rows
        for summary in summaries
        for (name,), rows in summary.rows.partition_by("workload", as_dict=True).items()
    }
    shares = [share for summary in summaries for share in summary.shard.shares]
    shares.sort(key=lambda share: share.position)
    return polars.concat([parts[share.name] for share in shares])
