"""``tidemark run``: the workloads of a config by Snakemake, or one command with checkpoints."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tidemark.cli.config import DEFAULT, load_config
from tidemark.cli.keep import add_hold
from tidemark.cli.quantities import count, permissions, seconds, size
from tidemark.errors import TidemarkError
from tidemark.files import storage_errors

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from tidemark.checkpoint.series import Series
    from tidemark.checkpoint.take import Taker
    from tidemark.keeper.client import Client

log = logging.getLogger(__name__)

SUMMARY = "run the workloads of a config, or one command with checkpoints of it"
_PROFILE = Path("workflow/profiles/default")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare both forms; ``--to`` tells them apart."""
    parser.usage = (
        "tidemark run [--cores N] [--configfile FILE] [--profile DIR] [-- SNAKEMAKE OPTIONS]\n"
        "       tidemark run --to DIR [--every TIME] [--keep N] [--max-memory SIZE]\n"
        "                    [--mode MODE] [--hold TIME] -- COMMAND"
    )
    parser.add_argument("words", metavar="WORD", nargs="*", help="options of Snakemake; a command")
    whole = parser.add_argument_group("the workloads of a config")
    whole.add_argument("--cores", metavar="N", help="how many cores to use (as in the profile)")
    whole.add_argument("--configfile", metavar="FILE", type=Path, default=DEFAULT)
    whole.add_argument("--profile", metavar="DIR", type=Path, default=_PROFILE)
    one = parser.add_argument_group(
        "one command", "It runs until it ends, and so does its exit code."
    )
    one.add_argument("--to", metavar="DIR", type=Path, help="the directory of its checkpoints")
    one.add_argument("--every", metavar="TIME", type=seconds, help="take one after the other")
    one.add_argument("--keep", metavar="N", type=count, help="keep the last N")
    one.add_argument(
        "--max-memory", metavar="SIZE", type=size, help="how much to copy at most (half of all)"
    )
    one.add_argument(
        "--mode", type=permissions, metavar="MODE", help="permissions of their files (600)"
    )
    add_hold(one)


def run(arguments: Namespace) -> int:
    """Run the command and return its exit code, or replace this process by Snakemake's.

    :raises ConfigError: with all the mistakes of the config
    :raises TidemarkError: when this is not the directory of the workflow, or there is no command
    """
    if arguments.to is not None:
        return _run_command(arguments)
    if arguments.every is not None or arguments.keep is not None:
        raise TidemarkError("it is not said where checkpoints go; give --to DIR, too")
    return _run_workflow(arguments)


def _run_workflow(arguments: Namespace) -> NoReturn:
    from tidemark.interruption import hold_signals

    if not Path("Snakefile").is_file():
        raise TidemarkError(f"there is no Snakefile in {Path.cwd()}; run this where it is")
    load_config(arguments.configfile)
    command = [
        *(sys.executable, "-m", "tidemark.running"),
        *(("--cores", arguments.cores) if arguments.cores else ()),
        *("--configfile", str(arguments.configfile), "--replace-workflow-config"),
        *("--workflow-profile", str(arguments.profile)),
        # Snakemake's own lock outlives a run that was killed; ours, on the results, does not.
        "--nolock",
        *arguments.words,
    ]
    sys.stdout.flush()
    hold_signals()
    os.execv(command[0], command)


def _run_command(arguments: Namespace) -> int:
    from tidemark.checkpoint.job import Job
    from tidemark.checkpoint.series import Series
    from tidemark.checkpoint.take import Taker
    from tidemark.cli.checkpoint import half_of_free_memory
    from tidemark.cli.keep import program_of

    if not arguments.words:
        raise TidemarkError("there is no command to run; write it after --")
    workload = replace(program_of(arguments.words, "auto"), hold=arguments.hold)
    name = f"{workload.name}-{os.getpid()}"
    most = arguments.max_memory or half_of_free_memory()
    with Series(arguments.to, arguments.mode) as series, Job(workload, name) as job:

        def taker(client: Client) -> Callable[[], None]:
            one = Taker(client, series, most)
            return lambda: _take(one, series, arguments.keep)

        return job.run(taker, arguments.every)


def _take(taker: Taker, series: Series, keep: int | None) -> None:
    """Take a checkpoint. What it fails of is told, and is no reason to end the program."""
    from tidemark.checkpoint.keep import keep_sound
    from tidemark.cli.checkpoint import line_of

    try:
        with storage_errors(series.directory):
            log.info(line_of(taker.take()))
            more = keep_sound(series, keep, lambda: taker.take(full=True)) if keep else None
            if more is not None:
                log.info(line_of(more))
    except TidemarkError as error:
        log.warning("no checkpoint: %s", error)
