"""``tidemark probe``: what this machine and these privileges allow."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING, Any

from tidemark.files import dump_json

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

SUMMARY = "tell what this machine allows, each thing tried for real"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``[--json]``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: Namespace) -> int:
    """Print a table, or JSON, of what was found."""
    found = _probe()
    sys.stdout.write(dump_json(found).decode() if arguments.json else _table(found))
    return 0


def _probe() -> dict[str, Any]:
    from tidemark.keeper.trackers import AUTO, choose_tracker
    from tidemark.native.probe import probe_features

    tracker, reason = choose_tracker(AUTO)
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "features": {
            name: {"works": lacking is None, "reason": lacking}
            for name, lacking in probe_features().items()
        },
        "tracker": tracker,
        "tracker_reason": reason,
    }


def _table(found: dict[str, Any]) -> str:
    lines = [f"Linux {found['kernel']}, {found['architecture']}"]
    for name, feature in found["features"].items():
        answer = "yes" if feature["works"] else f"no: {feature['reason']}"
        lines.append(f"{name:24} {answer}")
    lines.append(f"{'tracker':24} {found['tracker']} ({found['tracker_reason']})")
    return "\n".join(lines) + "\n"
