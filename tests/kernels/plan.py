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
    """What is run in one boot of a kernel.

    ``lacks`` are the features that the probe must find missing there, and no others.
    """

    kernel: Kernel
    groups: tuple[Group, ...]
    lacks: frozenset[str] = frozenset()


def _pytest(what: str) -> str:
    return f"python -m pytest -q -p no:cacheprovider --junitxml=$REPORT {what}"


def _guarantees(tracker: str, some: str = "", limit: int = 1500, testimony: str = "off") -> Group:
    which = f"{tracker} and ({some})" if some else tracker
    tests = _pytest(f"-n 2 tests/live/test_guarantees.py -k '{which}'")
    name = f"guarantees of {tracker}" + (" with testimony" if testimony != "off" else "")
    return Group(name.replace(" ", "-"), f"TIDEMARK_TESTIMONY={testimony} {tests}", limit)


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
TESTIMONY = Group("testimony", _pytest("tests/live/test_testimony.py"), 600)
CRIU = Group("criu", f"CRIU_LOGS=$RESULTS {_pytest('tests/live/test_criu.py')}", 900)
BENCH_CRIU = Group(
    "bench-criu",
    "python benchmarks/measure.py benchmarks/config/quick.yaml criu $RESULTS/bench-criu.json",
    300,
)
BENCH_TESTIFIED = Group(
    "bench-testified",
    "python benchmarks/measure.py benchmarks/config/quick.yaml testified-small "
    "$RESULTS/bench-testified.json",
    900,
)
WORKLOADS = Group("workloads", _pytest("tests/live/test_end_to_end.py -k bundled"), 900)
PRIVILEGES = Group(
    "privileges", _pytest("tests/live/test_privileges.py tests/live/test_cgroups.py"), 600
)
SNAKEMAKE = Group("snakemake", "tidemark run --cores 2 --configfile tests/kernels/smoke.yaml", 600)
TORTURE = Group(
    "torture",
    "python tests/torture/torture.py --tracker soft-dirty --operations 2000 --seed 1 --no-shorten",
    900,
)
LOST_ENTRIES = "dont_need or page_out or swap_out or unmap or execute or kill_of or birth"
"""What is found by other ways under soft-dirty than under uffd-wp."""

BY_DESCRIPTOR = "descriptor or file or brief or output or remove or punch or truncate or outside"
"""What is found by other ways where the kernel testifies."""

OLD = Kernel("6.1", "linux-image-cloud-amd64")
"""Debian 12's: soft-dirty bits, and neither PAGEMAP_SCAN nor asynchronous write-protection."""

NEW = Kernel("6.12", "linux-image-6.12-cloud-amd64")
"""It has all three."""

ARM = Kernel("arm64", "linux-image-6.12-cloud-arm64", "arm64")
"""Asynchronous write-protection, and no soft-dirty bits."""

NEWEST = Kernel("newest", "linux-image-cloud-amd64", suite="trixie-backports")
"""What a user may run before long."""

DEFECT = Kernel("6.18.15", "linux-image-6.18.15+deb13-cloud-amd64", suite="trixie-backports")
"""PAGEMAP_SCAN does not report a written page there whose entry has vanished."""

_NEEDS_WRITE_PROTECTION = {"pagemap-scan-general", "uffd-wp"}
_SCANS = {"pagemap-scan", "pagemap-scan-soft-dirty"}

PLANS = (
    Plan(
        OLD,
        (
            *(NATIVE, PROBE, CORE, CRIU, WORKLOADS, SNAKEMAKE, PRIVILEGES, TORTURE),
            _guarantees("soft-dirty"),
        ),
        frozenset(_NEEDS_WRITE_PROTECTION | _SCANS | {"procmap-query"}),
    ),
    Plan(
        NEW,
        (
            *(NATIVE, PROBE, AGREEMENT, PRIVILEGES, CRIU, BENCH_CRIU, BENCH_TESTIFIED),
            TESTIMONY,
            _guarantees("uffd-wp"),
            _guarantees("uffd-wp", BY_DESCRIPTOR, 900, testimony="wait"),
            _guarantees("soft-dirty", LOST_ENTRIES, 900),
        ),
    ),
    Plan(ARM, (NATIVE,), frozenset({"soft-dirty", "pagemap-scan-soft-dirty"})),
)

NEWER = (
    Plan(NEWEST, (NATIVE, PROBE, AGREEMENT, _guarantees("uffd-wp", LOST_ENTRIES, 900))),
    Plan(DEFECT, (NATIVE, PROBE, AGREEMENT), frozenset({"pagemap-scan-general"})),
)
"""They come and go with the archive, so they are only tried when asked for."""
