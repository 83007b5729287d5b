"""Run every check of the project and say at the end what passed, failed and was skipped.

usage: check.py [style|native|tests|slurm|kernels]...   (default: all of them)

A failing check does not keep the others from running. The exit code is 1 if any failed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from junit import FAILED, PASSED, SKIPPED, read_cases

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path("build")
REPORTS = BUILD / "reports"
WORKERS = os.environ.get("WORKERS", "auto")
_UNMARKED = "-m 'not serial and not kernels and not slurm'"


@dataclass(frozen=True)
class Check:
    """One command; ``report`` is the JUnit file that it writes, if it runs tests."""

    group: str
    name: str
    command: str
    report: Path | None = None


def checks() -> list[Check]:
    """Return all checks, the quick ones first."""
    sources = " ".join(shlex.quote(path) for path in _tracked("native/*.[ch]", "native/**/*.[ch]"))
    return [
        Check("style", "ruff format", "ruff format --check --quiet ."),
        Check("style", "ruff", "ruff check --quiet ."),
        Check("style", "clang-format", f"clang-format --dry-run -Werror {sources}"),
        Check(
            "style",
            "snakefmt",
            "snakefmt --check --compact-diff Snakefile benchmarks/Snakefile workflow/rules",
        ),
        Check("style", "snakemake --lint", "snakemake --lint"),
        Check("style", "generated config files", "python -m tidemark.config.generate --check"),
        # Modules of the same name cannot be checked at once.
        Check(
            "style",
            "mypy",
            "mypy && for each in workflow kernels slurm unit; do"
            " mypy tests/$each/conftest.py || exit 1; done",
        ),
        *_native("native", "RelWithDebInfo", "OFF"),
        *_native("sanitized", "Debug", "ON"),
        _pytest("tests", "tests in parallel", f"-n {WORKERS} {_UNMARKED}", "parallel"),
        _pytest("tests", "tests that own the machine", "-m serial", "serial"),
        _pytest("slurm", "tests on a Slurm cluster", "-n 4 tests/slurm", "slurm"),
        Check("kernels", "build for other kernels", _build("native", "RelWithDebInfo", "OFF")),
        _pytest("kernels", "tests on other kernels", "tests/kernels", "kernels"),
    ]


def _tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", *patterns], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return listed.stdout.split()


def _build(name: str, build_type: str, sanitize: str) -> str:
    """Return the command that builds the native library and its tests."""
    build = BUILD / name
    configure = (
        f"cmake -S . -B {build} -G Ninja -DCMAKE_BUILD_TYPE={build_type}"
        f" -DTIDEMARK_SANITIZE={sanitize}"
    )
    return f"{configure} > /dev/null && cmake --build {build} -- --quiet"


def _native(name: str, build_type: str, sanitize: str) -> list[Check]:
    build, report = BUILD / name, REPORTS / f"{name}.xml"
    return [
        Check("native", f"build of the {name} library", _build(name, build_type, sanitize)),
        Check(
            "native",
            f"C tests of the {name} library",
            f"ctest --test-dir {build} --output-on-failure --output-junit {report.resolve()}",
            report,
        ),
    ]


def _pytest(group: str, name: str, options: str, report: str) -> Check:
    path = REPORTS / f"{report}.xml"
    return Check(group, name, f"python -m pytest -q {options} --junitxml={path}", path)


@dataclass
class Outcome:
    """What became of a check: exit code, seconds, counts of tests, and reasons of skips."""

    check: Check
    code: int
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: Counter[str] | None = None


def run(check: Check) -> Outcome:
    """Run one check, its output passed through."""
    print(f"\n== {check.name}: {check.command[:100]}", flush=True)
    if check.report is not None:
        check.report.unlink(missing_ok=True)
    begun = time.monotonic()
    code = subprocess.run(["bash", "-c", check.command], cwd=ROOT, check=False).returncode
    outcome = Outcome(check, code, time.monotonic() - begun)
    if check.report is not None:
        _count(outcome, check.report)
    return outcome


def _count(outcome: Outcome, report: Path) -> None:
    """Read the numbers from a JUnit file. A runner that wrote none has failed."""
    outcome.skipped = Counter()
    if not report.exists():
        outcome.code = outcome.code or 1
        return
    cases = read_cases(report)
    outcome.passed = sum(case.outcome == PASSED for case in cases)
    outcome.failed = sum(case.outcome == FAILED for case in cases)
    outcome.skipped.update(case.why for case in cases if case.outcome == SKIPPED)


def summarise(outcomes: list[Outcome]) -> int:
    """Print a table of the checks, the skips with their reasons, and one closing line."""
    print("\n== summary")
    for outcome in outcomes:
        verdict = "passed" if outcome.code == 0 else f"FAILED ({outcome.code})"
        print(f"{outcome.check.name:36} {verdict:12} {outcome.seconds:7.1f} s")
    skipped: Counter[str] = sum((o.skipped for o in outcomes if o.skipped), Counter())
    for reason, count in sorted(skipped.items()):
        print(f"skipped {count}: {reason}")
    bad = [outcome.check.name for outcome in outcomes if outcome.code != 0]
    print(
        f"tidemark: {len(outcomes) - len(bad)} of {len(outcomes)} checks passed; tests: "
        f"{sum(o.passed for o in outcomes)} passed, {sum(o.failed for o in outcomes)} failed, "
        f"{skipped.total()} skipped" + (f"; FAILED: {', '.join(bad)}" if bad else "")
    )
    return 1 if bad else 0


def main() -> int:
    """Run the checks of the groups that were asked for."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # What anybody on the machine has pinned would make suspect what the tests write.
    os.environ.setdefault("TIDEMARK_PINS", "off")
    REPORTS.mkdir(parents=True, exist_ok=True)
    groups = sys.argv[1:]
    return summarise([run(c) for c in checks() if not groups or c.group in groups])


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
