"""Measure what Snakemake takes to plan a run of many workloads, and to do it.

usage: scheduling.py [--workloads N]... [--epochs N] [--live FORM]... [--do plan|run|again] TO

Each measurement is of the project's own Snakefile, with a config made for it, in a directory of
its own. The CPU seconds are those of Snakemake's own process, which are what scheduling costs. All
of it is kept in the file TO, as JSON, and a table is printed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from tidemark.files import write_json
from tidemark.steps.live import machine

ROOT = Path(__file__).resolve().parents[1]
SHARED = ("Snakefile", "workflow", "workloads", "profiles")
WORKLOAD = {
    "run": ["python3", "workloads/grid.py", "--processes", 1, "--pages", 16, "--seed", 1],
    "advance": {"steps": 1},
}
COLUMNS = ("do", "live", "workloads", "epochs", "jobs", "seconds", "cpu", "peak_mib")
STEPS = {
    "plan": ("--cores", "2", "--quiet", "rules", "--dry-run"),
    "run": ("--cores", "2", "--quiet", "rules"),
    "again": ("--cores", "2", "--quiet", "rules"),
}
DO = {"plan": ("plan",), "run": ("run",), "again": ("run", "again")}
_TICKS = os.sysconf("SC_CLK_TCK")


def prepare(directory: Path, workloads: int, epochs: int, form: str) -> None:
    """Put the workflow and a config with so many workloads into ``directory``."""
    for name in SHARED:
        (directory / name).symlink_to(ROOT / name)
    (directory / "config").mkdir()
    declared = {f"w{index:04}": WORKLOAD | {"epochs": epochs} for index in range(workloads)}
    config = yaml.safe_dump({"live": form, "workloads": declared})
    (directory / "config" / "config.yaml").write_text(config)


def measure(directory: Path, *options: str) -> dict[str, Any]:
    """Run Snakemake; return its jobs, seconds, CPU seconds without those of jobs, and peak MiB."""
    command = [str(Path(sys.executable).with_name("snakemake")), *options]
    begun = time.monotonic()
    with (directory / "output").open("w+") as output:
        process = subprocess.Popen(command, cwd=directory, stdout=output, stderr=output)
        # Still a zombie, whose own times stand apart from those of what it waited for.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        seconds = time.monotonic() - begun
        times = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{said}")
    planned = re.search(r"^total +(\d+)$", said, re.MULTILINE)
    return {
        "jobs": int(planned[1]) if planned else 0,
        "seconds": round(seconds, 2),
        "cpu": sum(map(int, times)) / _TICKS,
        "peak_mib": usage.ru_maxrss // 1024,
    }


def samples(workloads: int, epochs: int, form: str, do: str) -> list[dict[str, Any]]:
    """Measure a plan, or a whole run, or that and a second one that finds nothing to do."""
    with tempfile.TemporaryDirectory(prefix="tidemark-scheduling-") as name:
        directory = Path(name)
        prepare(directory, workloads, epochs, form)
        shape = {"live": form, "workloads": workloads, "epochs": epochs}
        return [{"do": step, **shape, **measure(directory, *STEPS[step])} for step in DO[do]]


def line(values: list[Any]) -> str:
    """Return one line of the table."""
    return "".join(f"{value!s:>10}" for value in values)


def main() -> None:
    """Measure each shape, print it, and keep all of them."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--workloads", type=int, action="append")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--live", action="append")
    parser.add_argument("--do", choices=tuple(DO), default="plan")
    parser.add_argument("to", type=Path)
    given = parser.parse_args()
    shapes = itertools.product(
        given.workloads or (10, 100, 1000), given.live or ("stepwise", "fused")
    )
    found: list[dict[str, Any]] = []
    sys.stdout.write(line(list(COLUMNS)) + "\n")
    for workloads, form in shapes:
        for sample in samples(workloads, given.epochs, form, given.do):
            found.append(sample)
            sys.stdout.write(line([sample[column] for column in COLUMNS]) + "\n")
            sys.stdout.flush()
    write_json(given.to, {"samples": found, "load": os.getloadavg(), "machine": machine()})


if __name__ == "__main__":
    main()
