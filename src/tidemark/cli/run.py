"""``tidemark run``: check the config, then hand over to Snakemake."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.cli.config import DEFAULT, load_config
from tidemark.errors import TidemarkError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

SUMMARY = "run the workloads of a config, by Snakemake"
_PROFILE = Path("workflow/profiles/default")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``[--cores N] [--configfile FILE] [--profile DIR] [-- SNAKEMAKE OPTIONS]``."""
    parser.add_argument("--cores", metavar="N", help="how many cores to use (as in the profile)")
    parser.add_argument("--configfile", metavar="FILE", type=Path, default=DEFAULT)
    parser.add_argument("--profile", metavar="DIR", type=Path, default=_PROFILE)
    parser.add_argument("options", metavar="OPTION", nargs="*", help="passed on to snakemake")


def run(arguments: Namespace) -> int:
    """Replace this process by Snakemake's.

    :raises ConfigError: with all the mistakes of the config
    :raises TidemarkError: when this is not the directory of the workflow
    """
    if not Path("Snakefile").is_file():
        raise TidemarkError(f"there is no Snakefile in {Path.cwd()}; run this where it is")
    load_config(arguments.configfile)
    command = [
        str(Path(sys.executable).with_name("snakemake")),
        *(("--cores", arguments.cores) if arguments.cores else ()),
        *("--configfile", str(arguments.configfile), "--replace-workflow-config"),
        *("--workflow-profile", str(arguments.profile)),
        # Snakemake's own lock outlives a run that was killed; ours, on the results, does not.
        "--nolock",
        *arguments.options,
    ]
    sys.stdout.flush()
    os.execv(command[0], command)
