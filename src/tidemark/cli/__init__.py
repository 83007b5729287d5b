"""The command line: one module per verb, and only the one that is asked for is imported."""

from __future__ import annotations

import io
import os
import sys
from argparse import ArgumentParser
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from tidemark import __version__
from tidemark.console import guard, set_up_logging

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Collection, Sequence

VERBS = {
    "bench": "hold two runs of the benchmarks against each other",
    "checkpoint": "take a checkpoint of a process that is kept, or one every few seconds",
    "config": "check a config file, and show what it comes to",
    "fsck": "check a dump and its parents for damage",
    "keep": "keep a process, or a command, so that checkpoints of it can be taken",
    "merge": "write one report of the shards of a config",
    "probe": "tell what this machine allows, each thing tried for real",
    "release": "keep a process no more",
    "restore": "restore a dump as files, or as a tree of processes",
    "run": "run the workloads of a config, or one command with checkpoints of it",
    "shard": "split a config into runs of their own",
    "show": "list what a dump, or a chain of them, holds",
    "status": "list the processes that are kept, and their last checkpoints",
}
"""Every verb with its module's SUMMARY: help must not import them all."""


class Verb(Protocol):
    """What the module of a verb offers."""

    SUMMARY: str

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the verb's arguments."""

    def run(self, arguments: Namespace) -> int:
        """Do it, and return the exit code."""


def verb_module(verb: str) -> Verb:
    """Return the module that implements ``verb``."""
    return cast("Verb", import_module(f"{__name__}.{verb.replace('-', '_')}"))


def build_parser(complete: Collection[str]) -> ArgumentParser:
    """Return the parser of all verbs, with the arguments of those in ``complete``."""
    parser = ArgumentParser("tidemark", description="Incremental, verified dumps of shared memory.")
    parser.add_argument("--version", action="version", version=f"tidemark {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, summary in VERBS.items():
        below = verbs.add_parser(verb, help=summary, description=f"{summary.capitalize()}.")
        if verb in complete:
            verb_module(verb).add_arguments(below)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code.

    :raises SystemExit: from argparse, for wrong arguments, ``--help`` and ``--version``
    """
    _fill_streams()
    return guard(lambda: _run(sys.argv[1:] if argv is None else argv))


def _fill_streams() -> None:
    """Open nothing at all in the place of standard streams that are closed.

    What is opened next would get their numbers, and be written to as if it were one.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _run(words: Sequence[str]) -> int:
    # No option of ours that stands before the verb takes a value: the first plain word is it.
    asked = next((word for word in words if not word.startswith("-")), None)
    if asked == "run" and not any(word.startswith("--to") for word in words):
        _end_on_signals()
    arguments = build_parser([asked] if asked in VERBS else []).parse_args(words)
    set_up_logging()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # a path may be any bytes
    return verb_module(arguments.verb).run(arguments)


def _end_on_signals() -> None:
    """Have a run say how it goes on from before what it takes seconds to import."""
    from tidemark.interruption import end_on_signals

    end_on_signals()
