"""Which kernels are tested, and what is run on each of them."""

from __future__ import annotations

from dataclasses import dataclass

from packages import Kernel

PROGRAMS = "build/native"
"""Where the C tests were built, below the project's root."""

SLOWNESS = 12
"""How many times slower Python is in a guest; the most that was measured is 22."""


@dataclass(frozen=True)
class Group:
    """Tests that are run by one command, in the project's root.

    The command leaves its results in the file ``$REPORT``. After ``limit`` seconds it is ended.
    ``short`` groups are run whenever everything is checked, the others when asked for.
    """

    name: str
    command: str
    limit: int
    short: bool = False


@dataclass(frozen=True)
class Plan:
    """What is run in one boot of a kernel."""

    kernel: Kernel
    groups: tuple[Group, ...]


def _pytest(what: str) -> str:
    return f"python -m pytest -q -p no:cacheprovider --junitxml=$REPORT {what}"


NATIVE = Group("native", f"ctest --test-dir {PROGRAMS} --output-junit $REPORT", 120, short=True)
PROBE = Group("probe", "tidemark probe --json >$RESULTS/probe.json", 60, short=True)

OLD = Kernel("6.1", "linux-image-cloud-amd64")
"""Debian 12's: soft-dirty bits, and neither PAGEMAP_SCAN nor asynchronous write-protection."""

NEW = Kernel("6.12", "linux-image-6.12-cloud-amd64")
"""It has all three."""


def _guarantees(tracker: str) -> str:
    return _pytest(f"tests/live/test_guarantees.py -k {tracker}")


PLANS = (
    Plan(OLD, (NATIVE, PROBE, Group("guarantees", _guarantees("soft-dirty"), 900))),
    Plan(NEW, (NATIVE, PROBE, Group("guarantees", _guarantees("soft-dirty"), 900))),
)
