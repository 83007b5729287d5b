"""What the pipeline costs beside Snakemake itself: the same DAG, with jobs that do nothing."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tidemark.native.process import adopt_orphans

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
SHELL = re.compile(r'^( +)shell:\n(?:\1    ".*"\n)+', re.MULTILINE)
EMPTY = r"""\1shell:
\1    "for output in {output:q}; do case $output in"
\1    " */image|*/restored) mkdir -p $output;; *) : > $output;; esac; done"
"""
STEPS_OF_EPOCH, OTHER_STEPS = 7, 3  # of one workload, and the report


@dataclass(frozen=True)
class Cost:
    """What a run took: by the clock, and of processors, all of its jobs included."""

    seconds: float
    cpu_seconds: float


def _workflow(directory: Path, epochs: int, *, empty: bool) -> Path:
    """Make a copy of the workflow with one small workload; ``empty``: its jobs do nothing."""
    for name in ("workflow", "workloads"):
        shutil.copytree(ROOT / name, directory / name)
    shutil.copy2(ROOT / "Snakefile", directory)
    grid = ["python3", "workloads/grid.py", "--processes", 1, "--pages", 64, "--seed", 1]
    workload = {"run": grid, "epochs": epochs, "advance": {"steps": 1}}
    (directory / "config").mkdir()
    config = yaml.safe_dump({"workloads": {"grid": workload}})
    (directory / "config" / "config.yaml").write_text(config)
    for rules in (directory / "workflow" / "rules").glob("*.smk") if empty else ():
        text, count = SHELL.subn(EMPTY, rules.read_text())
        if not count:
            raise SystemExit(f"{rules.name} has no rule with a shell command that is understood")
        rules.write_text(text)
    return directory


def _run(directory: Path) -> Cost:
    """Run a workflow; what it leaves to end by itself, as keepers are, is counted, too."""
    adopt_orphans()
    shutil.rmtree(directory / "results", ignore_errors=True)
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [str(SNAKEMAKE), "--cores", "2", "--quiet", "all"]
    command += ["--workflow-profile", "workflow/profiles/default"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("TIDEMARK")}
    subprocess.run(command, check=True, cwd=directory, env=env)
    seconds = time.perf_counter() - begun
    with suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, used)


def pipeline(options: dict[str, Any], pairs: int) -> Iterator[dict[str, float]]:
    """Measure the seconds of a run; of the same DAG with empty jobs.

    Beside these, the processor time of a step beyond that of an empty job, and what it may be.
    """
    steps = STEPS_OF_EPOCH * options["epochs"] + OTHER_STEPS
    with (
        tempfile.TemporaryDirectory(prefix="tidemark-bench-") as full,
        tempfile.TemporaryDirectory(prefix="tidemark-bench-") as empty,
    ):
        ours = _workflow(Path(full), options["epochs"], empty=False)
        peers = _workflow(Path(empty), options["epochs"], empty=True)
        for _ in range(pairs):
            run, bare = _run(ours), _run(peers)
            yield {
                "ours": run.seconds,
                "peer": bare.seconds,
                "step": (run.cpu_seconds - bare.cpu_seconds) / steps,
                "step_limit": options["step_seconds"],
                "bare_step": bare.cpu_seconds / steps,
            }


MEASURES = {"pipeline": pipeline}
