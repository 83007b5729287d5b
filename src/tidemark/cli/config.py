"""``tidemark config``: check a config file, and show what it comes to."""

from __future__ import annotations

import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.errors import TidemarkError
from tidemark.files import dump_json

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from tidemark.config import Config
    from tidemark.config.models import AdvanceSection, WorkloadSection

SUMMARY = "check a config file, and show what it comes to"
DEFAULT = Path("config/config.yaml")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``check [--json] [FILE]``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        help="print a line per workload, or all mistakes",
        description="Print a line per workload, or all mistakes (exit code 3).",
    )
    check.add_argument("file", metavar="FILE", nargs="?", type=Path, default=DEFAULT)
    check.add_argument("--json", action="store_true", help="print the config with all defaults")


def run(arguments: Namespace) -> int:
    """Print what the config comes to.

    :raises ConfigError: with all the mistakes in it
    :raises TidemarkError: where only what a job needs is installed
    """
    config = load_config(arguments.file)
    sys.stdout.write(_json(config) if arguments.json else _lines(config))
    return 0


def load_config(path: Path) -> Config:
    """Return the config in ``path``.

    :raises ConfigError: with all the mistakes in it
    :raises TidemarkError: where only what a job needs is installed
    """
    with needs_workflow():
        from tidemark.config import load
    return load(path)


@contextmanager
def needs_workflow() -> Iterator[None]:
    """Say what is lacking where only what a job needs is installed.

    :raises TidemarkError: when the block imports what is not there
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise TidemarkError(
            f"a config needs {error.name} to be read; run `pip install 'tidemark[workflow]'`"
        ) from error


def _json(config: Config) -> str:
    return dump_json(config.model_dump(mode="json")).decode()


def _lines(config: Config) -> str:
    width = max(map(len, config.workloads))
    return "".join(
        f"{name:{width}}  {_epochs(workload)}, tracker {workload.tracker}: {_program(workload)}\n"
        for name, workload in config.workloads.items()
    )


def _epochs(workload: WorkloadSection) -> str:
    plural = "epoch" if workload.epochs == 1 else "epochs"
    return f"{workload.epochs} {plural} of {_quantum(workload.advance)}"


def _quantum(advance: AdvanceSection) -> str:
    if advance.command is not None:
        return f"`{shlex.join(advance.command)}`"
    if advance.seconds is not None:
        return f"{advance.seconds:g} s"
    return f"{advance.steps} steps" if advance.steps != 1 else "1 step"


def _program(workload: WorkloadSection) -> str:
    if workload.run is not None:
        return shlex.join(workload.run)
    attach = workload.attach
    if attach is None:
        return ""
    return f"process {attach.pid}" if attach.pid else f"the process in {attach.pidfile}"
