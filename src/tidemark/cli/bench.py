"""``tidemark bench``: hold two runs of the benchmark pipeline against each other."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.errors import TidemarkError, WorseError
from tidemark.files import dump_json

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidemark.bench.compare import Line

log = logging.getLogger(__name__)

SUMMARY = "hold two runs of the benchmarks against each other"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``diff [--json] A B``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    diff = actions.add_parser(
        "diff",
        help="tell what got worse from run A to run B",
        description="Tell what got worse from run A to run B, beyond noise (exit code 14).",
    )
    diff.add_argument("before", metavar="A", type=Path, help="the results of the first run")
    diff.add_argument("after", metavar="B", type=Path, help="the results of the second run")
    diff.add_argument("--json", action="store_true", help="print the comparisons as JSON")


def run(arguments: Namespace) -> int:
    """Print a line for each comparison.

    :raises WorseError: when one of them got worse, after all were printed
    :raises TidemarkError: when a run holds no samples, or they have none in common
    """
    from tidemark.bench.compare import compare, differing_facts
    from tidemark.bench.run import read_run

    before, after = read_run(arguments.before), read_run(arguments.after)
    lines, facts = compare(before, after), differing_facts(before, after)
    if not lines:
        raise TidemarkError(
            f"{arguments.before} and {arguments.after} have no comparison in common; name runs of "
            "the same config"
        )
    if arguments.json:
        value = {"lines": [asdict(line) for line in lines], "differing": facts}
        sys.stdout.write(dump_json(value).decode())
    else:
        sys.stdout.write("".join(map(_text, lines)))
    for name in sorted(before.keys() ^ after.keys()):
        log.warning("only one of the runs has %s", name)
    for fact in facts:
        log.warning("the runs differ in %s", fact)
    if worse := [line.name for line in lines if line.verdict == "worse"]:
        raise WorseError(f"worse than in {arguments.before}, beyond noise: {', '.join(worse)}")
    return 0


def _text(line: Line) -> str:
    why = f" ({line.why})" if line.why else ""
    return (
        f"{line.verdict:6}  {line.ratio:6.3f}  [{line.low:.3f}, {line.high:.3f}]  "
        f"{line.name}: {line.before:.3f} to {line.after:.3f}{why}\n"
    )
