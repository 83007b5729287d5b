"""``tidemark merge``: one report of shards that have run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.cli.config import needs_workflow

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

SUMMARY = "write one report of the shards of a config"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``DIR... --to DIR``."""
    parser.add_argument(
        "directories",
        metavar="DIR",
        nargs="+",
        type=Path,
        help="a shard's directory, or the one that `tidemark shard` made",
    )
    parser.add_argument("--to", metavar="DIR", type=Path, required=True, help="a new directory")


def run(arguments: Namespace) -> int:
    """Write the report and the summaries.

    :raises StorageError: when the directory exists, or cannot be written
    :raises TidemarkError: when they are not the shards of one config, made by one version
    :raises VerifyError: naming all that failed verification
    """
    with needs_workflow():
        from tidemark.shards.merge import merge
    workloads = merge(arguments.directories, arguments.to)
    sys.stdout.write(f"{arguments.to / 'report.html'}: {workloads} workloads\n")
    return 0
