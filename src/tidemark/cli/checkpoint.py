"""``tidemark checkpoint``: take checkpoints of a process that is kept."""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemark.cli.quantities import count, permissions, seconds, shown_bytes, shown_seconds, size
from tidemark.console import Interrupts
from tidemark.files import SCHEMA
from tidemark.unsaved import phrase_of

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping, Sequence

    from tidemark.checkpoint.series import Series
    from tidemark.checkpoint.take import Taken
    from tidemark.keeper.client import Client

log = logging.getLogger(__name__)

_SHOWN = 5
SUMMARY = "take a checkpoint of a process that is kept, or one every few seconds"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare of whom, to where, and how often."""
    parser.add_argument(
        "keeper", metavar="KEEPER", nargs="?", help="a name, process id or directory"
    )
    parser.add_argument(
        "--to",
        metavar="DIR",
        type=Path,
        help="the directory of the checkpoints (that of the last one, or checkpoints/NAME)",
    )
    parser.add_argument("--every", metavar="TIME", type=seconds, help="take one after the other")
    parser.add_argument(
        "--count", metavar="N", type=count, help="how many (1; no end with --every)"
    )
    parser.add_argument(
        "--keep", metavar="N", type=count, help="keep the last N: squash and remove older ones"
    )
    parser.add_argument(
        "--max-memory",
        metavar="SIZE",
        type=size,
        help="how much to copy at most; beyond, the process stands until all is written "
        "(half of what is free)",
    )
    parser.add_argument(
        "--mode",
        type=permissions,
        metavar="MODE",
        help="permissions of its files: 600, or 640 or 660 to share them with the group of DIR "
        "(600; as DIR was made with)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")


def run(arguments: Namespace) -> int:
    """Take checkpoints and print a line for each.

    :raises KeeperError: when there is no keeper
    :raises TidemarkError: what a checkpoint failed of; the next one will hold what it would have
    """
    from tidemark.checkpoint.keepers import connect, find_keeper
    from tidemark.checkpoint.series import Series

    path = find_keeper(arguments.keeper)
    with (
        Interrupts() as interrupts,
        connect(path) as client,
        Series(arguments.to or _directory(client), arguments.mode) as series,
    ):
        _take_all(client, series, arguments, interrupts)
    return 0


def _directory(client: Client) -> Path:
    """Return where the last checkpoint is, or where the first one goes."""
    status, _ = client.ask("status")
    if status["parent"]:
        return Path(status["parent"]["path"]).parent.parent
    return Path("checkpoints", status["workload"])


def _take_all(client: Client, series: Series, arguments: Namespace, interrupts: Interrupts) -> None:
    from tidemark.checkpoint.keep import keep_sound
    from tidemark.checkpoint.progress import Progress
    from tidemark.checkpoint.take import Taker

    most = arguments.max_memory
    taker = Taker(client, series, half_of_free_memory() if most is None else most)
    many = arguments.count or (None if arguments.every else 1)
    for index in itertools.count():
        due = time.monotonic() + (arguments.every or 0.0)
        with Progress(series.written, sys.stderr) as progress:
            taken = taker.take(progress.begin)
        _print(taken, as_json=arguments.json)
        if arguments.keep:
            more = keep_sound(series, arguments.keep, lambda: taker.take(full=True))
            if more is not None:
                _print(more, as_json=arguments.json)
        interrupts.check()
        if many is not None and index + 1 >= many:
            return
        client.wait(max(0.0, due - time.monotonic()))


def half_of_free_memory() -> int:
    """Return half of the memory that is free, or that a batch job was given, in bytes."""
    with open("/proc/meminfo") as file:  # noqa: PTH123 - of the kernel
        free = next(line for line in file if line.startswith("MemAvailable:"))
    most = int(free.split()[1]) * 1024
    given = os.environ.get("SLURM_MEM_PER_NODE", "")  # MiB; 0 for all
    return min(most, int(given) << 20 if given.isdecimal() and int(given) else most) // 2


def _print(taken: Taken, *, as_json: bool) -> None:
    sys.stdout.write(_json(taken) if as_json else f"{line_of(taken)}\n")
    sys.stdout.flush()


def _json(taken: Taken) -> str:
    value = asdict(taken) | {"path": str(taken.path), "parent": taken.parent and str(taken.parent)}
    return json.dumps({"schema": SCHEMA, **value}, sort_keys=True) + "\n"


def line_of(taken: Taken) -> str:
    """Return a checkpoint in one line, for people."""
    notes = [f"on top of {taken.parent.name}" if taken.parent else "in full"]
    if taken.held:
        notes.append("written while the process stood: --max-memory is too small for a copy")
    if taken.suspects:
        notes.append(f"{taken.suspects} pages compared with the parent")
    notes += untracked_in_words(taken.untracked)
    notes += taken.mishaps
    if taken.unsaved:
        notes.append(f"not saved: {phrase_of(one.kind for one in taken.unsaved)}")
    return (
        f"{taken.path}  {taken.pages} pages, {shown_bytes(taken.bytes)}; "
        f"frozen {shown_seconds(taken.frozen_seconds)}, "
        f"waited {shown_seconds(taken.waited_seconds)}, in all {shown_seconds(taken.seconds)}; "
        f"{', '.join(notes)}"
    )


def untracked_in_words(untracked: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return, for people, which processes are under no tracker: one phrase for each reason."""
    pids: dict[str, list[str]] = {}
    for one in untracked:
        pids.setdefault(one["why"], []).append(str(one["pid"]))
    return [
        f"{'process' if len(some) == 1 else 'processes'} {', '.join(some[:_SHOWN])}"
        f"{f' and {len(some) - _SHOWN} more' if len(some) > _SHOWN else ''} {why}"
        for why, some in pids.items()
    ]
