"""``tidemark release``: end a keeper, and let its processes run on, or stop them."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from tidemark.errors import KeeperError
from tidemark.keeper.client import is_alive

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidemark.keeper.record import KeeperRecord

SUMMARY = "keep a process no more"

_END_SECONDS = 10.0
"""It ends within some milliseconds."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``[--stop] [KEEPER]``."""
    parser.add_argument(
        "keeper", metavar="KEEPER", nargs="?", help="a name, process id or directory"
    )
    parser.add_argument(
        "--stop", action="store_true", help="stop the program, too, if `keep` has started it"
    )


def run(arguments: Namespace) -> int:
    """End the keeper.

    One that has ended is told of no more.

    :raises KeeperError: when there is none
    :raises WorkloadError: when the program is not the keeper's to stop, or did not end well
    """
    from tidemark.checkpoint.keepers import connect, find_keeper, forget_ended
    from tidemark.keeper.record import read_keeper

    try:
        path = find_keeper(arguments.keeper)
    except KeeperError:
        why = forget_ended(arguments.keeper)
        if why is None:
            raise
        sys.stdout.write(f"{arguments.keeper}: its keeper had ended: {why}\n")
        return 0
    keeper = read_keeper(path)
    name = keeper["workload"]
    with connect(path) as client:
        client.ask("release", stop=arguments.stop)
    _wait_for_end(keeper)
    path.unlink(missing_ok=True)
    sys.stdout.write(f"{name}: {'stopped' if arguments.stop else 'released; it runs on'}\n")
    return 0


def _wait_for_end(keeper: KeeperRecord) -> None:
    """Wait until the keeper has ended, which lets the processes go that it has traced."""
    deadline = time.monotonic() + _END_SECONDS
    while is_alive(keeper) and time.monotonic() < deadline:
        time.sleep(0.002)
