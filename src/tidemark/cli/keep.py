"""``tidemark keep``: a keeper in the background, for checkpoints of a live process."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemark.cli.quantities import seconds
from tidemark.errors import KeeperError
from tidemark.files import dump_json, write_json
from tidemark.workload import HOLD_SECONDS

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _ActionsContainer
    from collections.abc import Sequence

    from tidemark.workload import Workload

SUMMARY = "keep a process, or a command, so that checkpoints of it can be taken"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what to keep, and how."""
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("pid", metavar="PID", nargs="?", type=int, help="a process, with all below")
    target.add_argument("--pidfile", metavar="FILE", type=Path, help="a file with its process id")
    target.add_argument(
        "--command",
        metavar="COMMAND",
        nargs=argparse.REMAINDER,
        help="start this program, with the words that follow; the last option",
    )
    parser.add_argument("--name", help="how to call it (the process id, or the program's name)")
    parser.add_argument("--directory", metavar="DIR", type=Path, help="where the keeper works")
    parser.add_argument(
        "--tracker", choices=("auto", "uffd-wp", "soft-dirty", "content"), default="auto"
    )
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=seconds,
        default=60.0,
        help="how long a command may take until it shares memory (60s)",
    )
    add_hold(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_hold(parser: _ActionsContainer) -> None:
    """Declare for how long a process may stand."""
    parser.add_argument(
        "--stand",
        metavar="TIME",
        type=seconds,
        default=2.0,
        help="for how long a process may stand while it is attached to (2s)",
    )
    parser.add_argument(
        "--hold",
        metavar="TIME",
        type=seconds,
        default=HOLD_SECONDS,
        help="for how long the process may stand because of a checkpoint, whoever hangs (30s)",
    )


def run(arguments: Namespace) -> int:
    """Start the keeper and say where it is.

    :raises KeeperError: when there is one of that name already
    :raises TidemarkError: what the keeper could not do
    """
    from tidemark.checkpoint.keepers import (
        KEEPER_JSON,
        end,
        status_of,
        work_directory,
    )
    from tidemark.keeper.launch import launch
    from tidemark.keeper.main import CHECKPOINTS

    workload = _workload(arguments)
    directory = work_directory(arguments.directory, workload.name)
    _check_free(directory / KEEPER_JSON)
    keeper = launch(workload.to_json(), directory, CHECKPOINTS)
    try:
        write_json(directory / KEEPER_JSON, keeper)
        status = status_of(directory / KEEPER_JSON)
    except BaseException:  # nobody would find it
        end(keeper, stop=bool(workload.run))
        (directory / KEEPER_JSON).unlink(missing_ok=True)
        raise
    sys.stdout.write(dump_json(status).decode() if arguments.json else _lines(status, workload))
    return 0


def _check_free(keeper_json: Path) -> None:
    from tidemark.keeper.client import is_alive
    from tidemark.keeper.record import read_keeper

    if keeper_json.exists() and is_alive(read_keeper(keeper_json)):
        raise KeeperError(
            f"there is a keeper in {keeper_json.parent} already; release it, or use --name"
        )


def _workload(arguments: Namespace) -> Workload:
    kept = program_of(arguments.command or (), arguments.tracker)
    return replace(
        kept,
        name=_name(arguments),
        run=kept.run or None,
        attach_pid=arguments.pid,
        attach_pidfile=str(arguments.pidfile.absolute()) if arguments.pidfile else None,
        timeout=arguments.timeout,
        stand=arguments.stand,
        hold=arguments.hold,
    )


def program_of(command: Sequence[str], tracker: str) -> Workload:
    """Return a program that is started for checkpoints of it, by the name of its file."""
    from tidemark.workload import Advance, Policy, Workload

    return Workload(
        name=_safe(Path(command[0]).name) if command else "",
        run=tuple(command),
        attach_pid=None,
        attach_pidfile=None,
        epochs=0,
        advance=Advance(None, None, None),
        tracker=tracker,
        policy=Policy(),
        ready=None,
        timeout=60.0,
        stop_signal="TERM",
        stop_grace=10.0,
        check=None,
        env={},
    )


def _name(arguments: Namespace) -> str:
    """Return what is to be called by, as a name of a directory."""
    name = arguments.name or (
        str(arguments.pid)
        if arguments.pid is not None
        else arguments.pidfile.stem
        if arguments.pidfile
        else Path(arguments.command[0]).name
    )
    return _safe(name)


def _safe(name: str) -> str:
    return re.sub(r"[^\w.+-]|^\.+", "_", name)


def _lines(status: dict[str, Any], workload: Workload) -> str:
    processes = status["processes"]
    lines = [
        f"{status['name']}: kept, {len(processes)} processes, tracker {status['tracker']}",
        f"directory {status['directory']}",
        f"socket {status['socket']}",
    ]
    if workload.run:
        lines.append(f"output {status['directory']}/output.log")
    return "\n".join(lines) + "\n"
