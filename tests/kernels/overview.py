"""Showing what came of all kernels: kernel by group of tests."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from junit import FAILED, PASSED, SKIPPED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from boots import Boot

_HEAD = f"{'kernel':28} {'group':14} {PASSED:>7} {FAILED:>7} {SKIPPED:>8} {'seconds':>8}"


def table(boots: Sequence[Boot]) -> str:
    """Return a table of passed, failed and skipped tests, with the reasons of the skips."""
    lines = [_HEAD]
    for boot in boots:
        name = f"{boot.kernel} ({boot.release})" if boot.release else boot.kernel
        for group, cases in boot.groups.items():
            counts = Counter(case.outcome for case in cases)
            numbers = f"{counts[PASSED]:7} {counts[FAILED]:7} {counts[SKIPPED]:8}"
            numbers += f" {boot.wall.get(group, 0):8.1f}"
            lines.append(f"{name:28} {group:14} {numbers}")
            reasons = Counter(case.why for case in cases if case.outcome == SKIPPED)
            lines += [f"{'':43} skipped {n}: {why}" for why, n in sorted(reasons.items())]
        lines.append(f"{name:28} {'in all':14} {'':23} {boot.seconds:8.1f}")
    return "\n".join(lines)
