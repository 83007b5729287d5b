"""``tidemark restore``: a dump as files, or as a tree of processes that is held for a while."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.cli.quantities import count, permissions
from tidemark.directories import PRIVATE
from tidemark.errors import TidemarkError
from tidemark.image.directory import find_image

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

SUMMARY = "restore a dump as files, or as a tree of processes"
_MOST_PROCESSES = 256


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``DIR (--to DIR | --tree)``."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="a dump, or an epoch of a run")
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--to", metavar="DIR", type=Path, help="write a sparse file per region here")
    form.add_argument(
        "--tree",
        action="store_true",
        help="start processes that map the regions as they were mapped, until a key is pressed",
    )
    parser.add_argument(
        "--mode",
        type=permissions,
        default=PRIVATE,
        metavar="MODE",
        help="permissions of the files: 600, or 640 or 660 for a group (600)",
    )
    parser.add_argument(
        "--processes",
        metavar="N",
        type=count,
        default=_MOST_PROCESSES,
        help=f"start up to so many of them ({_MOST_PROCESSES})",
    )


def run(arguments: Namespace) -> int:
    """Restore after a full check.

    :raises ImageError: when the dump or a parent of it is damaged; then nothing was touched
    """
    image = find_image(arguments.directory)
    if arguments.to:
        from tidemark.restore.files import restore_files

        for path in restore_files(image, arguments.to, arguments.mode):
            print(path)  # noqa: T201 - the verb's output
        return 0
    return _hold_tree(image, arguments.processes)


def _hold_tree(image: Path, most: int) -> int:
    from tidemark.restore.layout import read_layout
    from tidemark.restore.tree import RestoredTree

    layout = image.parent / "layout.json"
    if not layout.is_file():
        raise TidemarkError(
            f"{layout} is missing, which says who mapped what; restore as files with --to"
        )
    laid = read_layout(layout)
    if len(laid.processes) > most:
        raise TidemarkError(
            f"{layout} asks for {len(laid.processes)} processes; if that is right, restore with "
            f"--processes {len(laid.processes)}"
        )
    with RestoredTree(image, laid) as tree:
        seen, of = tree.check_sharing()
        for number, pid in tree.pids().items():
            print(f"process {number}: pid {pid}")  # noqa: T201 - the verb's output
        print(f"{seen} of {of} mappings see another's stores; press Enter to end")  # noqa: T201
        sys.stdin.readline()
    return 0
