"""``tidemark fsck``: check a dump and its parents for damage."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.files import dump_json

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidemark.image.check import Summary

SUMMARY = "check a dump and its parents for damage"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``[--json] DIR``."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="a dump, or an epoch's DIR")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")


def run(arguments: Namespace) -> int:
    """Print what was checked.

    :raises ImageError: for the first damage found
    """
    from tidemark.image.check import check_image
    from tidemark.image.directory import find_image

    directory = find_image(arguments.directory)
    summary = check_image(directory)
    if arguments.json:
        sys.stdout.write(dump_json({"directory": str(directory), **asdict(summary)}).decode())
    else:
        sys.stdout.write(f"{directory}: sound; {_counts(summary)}\n")
    return 0


def _counts(summary: Summary) -> str:
    parts = [
        _plural(summary.images, "image"),
        _plural(summary.regions, "region"),
        _plural(summary.pages, "page"),
        f"{_plural(summary.bytes, 'byte')} of content",
    ]
    if unhashed := summary.images - summary.hashed:
        parts.append(f"{unhashed} without a manifest, so that its content cannot be checked")
    return ", ".join(parts)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
