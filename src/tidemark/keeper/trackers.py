"""Choosing the tracker that this machine allows."""

from __future__ import annotations

from tidemark.errors import TrackerError
from tidemark.native.probe import probe_tracker

AUTO = "auto"
CONTENT = "content"
BEST_FIRST = ("uffd-wp", "soft-dirty")
"""The trackers that `auto` tries, in this order."""


def choose_tracker(wanted: str) -> tuple[str, str]:
    """Return the tracker to use for ``wanted``, and in words why it is that one.

    :raises TrackerError: when ``wanted`` is a certain one that this machine lacks
    """
    if wanted == CONTENT:
        return CONTENT, "asked for by the config"
    if wanted != AUTO:
        lacking = probe_tracker(wanted)
        if lacking:
            raise TrackerError(
                f"this machine lacks the tracker {wanted} ({lacking}); "
                "set `tracker: auto` to take the best that it has"
            )
        return wanted, "asked for by the config, and it passed its probe"
    refused: list[str] = []
    for tracker in BEST_FIRST:
        lacking = probe_tracker(tracker)
        if lacking is None:
            return tracker, "; ".join(["auto: the best that passed its probe", *refused])
        refused.append(f"{tracker} did not: {lacking}")
    return CONTENT, "; ".join(["auto: no tracker passed its probe", *refused])
