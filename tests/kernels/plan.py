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
    ``short`` groups are run whenever everything is checked, ``long`` ones when asked for.
    """

    name: str
    command: str
    limit: int
    short: bool = False
    long: bool = True


@dataclass(frozen=True)
class Plan:
    """What is run in one boot of a kernel."""

    kernel: Kernel
    groups: tuple[Group, ...]


def _pytest(what: str) -> str:
    return f"python -m pytest -q -p no:cacheprovider --junitxml=$REPORT {what}"


def _guarantees(tracker: str) -> Group:
    tests = f"-n 2 tests/live/test_guarantees.py -k {tracker}"
    return Group("guarantees", _pytest(tests), 1500)


NATIVE = Group("native", f"ctest --test-dir {PROGRAMS} --output-junit $REPORT", 240, short=True)
PROBE = Group("probe", "tidemark probe --json >$RESULTS/probe.json", 120, short=True)
CORE = Group(
    "core",
    _pytest("tests/live/test_guarantees.py -k 'soft-dirty and (_and_load or first_store)'"),
    400,
    short=True,
    long=False,
)
AGREEMENT = Group("agreement", _pytest("tests/live/test_agreement.py"), 400, short=True)
CRIU = Group("criu", f"CRIU_LOGS=$RESULTS {_pytest('tests/live/test_criu.py')}", 900)
WORKLOADS = Group("workloads", _pytest("tests/live/test_end_to_end.py -k bundled"), 900)
PRIVILEGES = Group(
    "privileges", _pytest("tests/live/test_privileges.py tests/live/test_cgroups.py"), 600
)
TORTURE = Group(
    "torture",
    "python tests/torture/torture.py --tracker soft-dirty --operations 2000 --seed 1 --no-shorten",
    900,
)

OLD = Kernel("6.1", "linux-image-cloud-amd64")
"""Debian 12's: soft-dirty bits, and neither PAGEMAP_SCAN nor asynchronous write-protection."""

NEW = Kernel("6.12", "linux-image-6.12-cloud-amd64")
"""It has all three."""

ARM = Kernel("arm64", "linux-image-6.12-cloud-arm64", "arm64")
"""Asynchronous write-protection, and no soft-dirty bits."""

PLANS = (
    Plan(OLD, (NATIVE, PROBE, CORE, CRIU, WORKLOADS, PRIVILEGES, TORTURE, _guarantees("soft"))),
    Plan(NEW, (NATIVE, PROBE, AGREEMENT, PRIVILEGES, CRIU, _guarantees("uffd"))),
    Plan(ARM, (NATIVE,)),
)
