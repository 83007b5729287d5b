"""``tidemark status``: which processes are kept, and their last checkpoints."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tidemark.cli.checkpoint import untracked_in_words
from tidemark.console import printable_line
from tidemark.files import dump_json

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

SUMMARY = "list the processes that are kept, and their last checkpoints"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``[--json] [KEEPER]``."""
    parser.add_argument(
        "keeper", metavar="KEEPER", nargs="?", help="a name, process id or directory (all)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: Namespace) -> int:
    """Print a line for each keeper.

    :raises KeeperError: when the one that was named is not there
    """
    from tidemark.checkpoint.keepers import all_keepers, ended_keepers, find_keeper, status_of

    paths = [find_keeper(arguments.keeper)] if arguments.keeper else all_keepers()
    found = [status_of(path) for path in paths]
    ended = [] if arguments.keeper else ended_keepers()
    if arguments.json:
        sys.stdout.write(dump_json({"keepers": found, "ended": ended}).decode())
    else:
        lines = [
            f"{printable_line(line)}\n" for line in (*map(_line, found), *map(_last_line, ended))
        ]
        sys.stdout.write("".join(lines) or "nothing is kept\n")
    return 0


def _last_line(ended: dict[str, Any]) -> str:
    return f"{ended['name']}  kept no more, keeper {ended['pid']} has ended: {ended['why']}"


def _line(status: dict[str, Any]) -> str:
    last = f"the last is {status['parent']}" if status["parent"] else "none saved"
    untracked = "".join(f"; {phrase}" for phrase in untracked_in_words(status["untracked"]))
    return (
        f"{status['name']}  {len(status['processes'])} processes, tracker {status['tracker']}, "
        f"keeper {status['pid']} in {status['directory']}; "
        f"{status['checkpoints']} checkpoints, {last}{untracked}"
    )
