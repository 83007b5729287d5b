"""``tidemark probe``: what this machine and these privileges allow."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemark.files import dump_json

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

SUMMARY = "tell what this machine allows, each thing tried for real"

GUARANTEES = {
    "uffd-wp": "stores are exact, also by processes that end and to pages that are reclaimed",
    "soft-dirty": "stores are exact; compared by content are pages without a page table entry, "
    "and all where the kernel reclaimed any",
    "content": "no store is seen: every page is compared by content, in every epoch",
}
"""What each tracker vouches for."""
_CAPABILITIES = {
    "CAP_SYS_PTRACE": (19, "only processes of the same user can be tracked"),
    "CAP_SYS_ADMIN": (21, "memory objects are read through the processes that map them"),
    "CAP_SYS_RESOURCE": (24, "CRIU cannot restore processes of other users"),
    "CAP_CHECKPOINT_RESTORE": (40, "map_files can be opened with CAP_SYS_ADMIN only"),
}
_STATUS = Path("/proc/self/status")


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
        "user": os.geteuid(),
        "privileges": _privileges(),
        "features": {
            name: {"works": lacking is None, "reason": lacking}
            for name, lacking in probe_features().items()
        },
        "tracker": tracker,
        "tracker_reason": reason,
        "guarantee": GUARANTEES[tracker],
    }


def _privileges() -> dict[str, dict[str, Any]]:
    """Return of each capability that matters whether we have it, else what follows from that."""
    lines = _STATUS.read_text().splitlines()
    effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    held = {name: bool(effective >> bit & 1) for name, (bit, _) in _CAPABILITIES.items()}
    return {
        name: {"works": held[name], "reason": None if held[name] else without}
        for name, (_, without) in _CAPABILITIES.items()
    }


def _table(found: dict[str, Any]) -> str:
    lines = [f"Linux {found['kernel']}, {found['architecture']}, user {found['user']}"]
    for name, each in (found["features"] | found["privileges"]).items():
        answer = "yes" if each["works"] else f"no: {each['reason']}"
        lines.append(f"{name:24} {answer}")
    lines.append(f"{'tracker':24} {found['tracker']} ({found['tracker_reason']})")
    lines.append(f"{'guarantee':24} {found['guarantee']}")
    return "\n".join(lines) + "\n"
