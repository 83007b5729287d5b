"""``tidemark shard``: split a config into runs of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.cli.config import DEFAULT, needs_workflow
from tidemark.cli.quantities import count

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

SUMMARY = "split a config into runs of their own"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``--count N --to DIR [--configfile FILE]``."""
    parser.add_argument("--count", metavar="N", type=count, required=True, help="how many runs")
    parser.add_argument("--to", metavar="DIR", type=Path, required=True, help="a new directory")
    parser.add_argument("--configfile", metavar="FILE", type=Path, default=DEFAULT)


def run(arguments: Namespace) -> int:
    """Write the shards, and print the command that runs each.

    :raises ConfigError: with all the mistakes of the config
    :raises StorageError: when the directory exists, or cannot be written
    :raises TidemarkError: when there are fewer workloads than shards
    """
    with needs_workflow():
        from tidemark.shards.split import split
    for shard in split(arguments.configfile, arguments.count, arguments.to):
        sys.stdout.write(f"tidemark run --configfile {shard.config}\n")
    return 0
