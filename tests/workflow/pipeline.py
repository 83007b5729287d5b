"""A copy of the project's workflow in a directory of its own, and running it there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

GRID: dict[str, Any] = {
    "run": ["python3", "workloads/grid.py", "--processes", 2, "--pages", 64, "--seed", 1],
    "epochs": 2,
    "advance": {"steps": 3},
}
SPARSE: dict[str, Any] = {
    "run": ["python3", "workloads/sparse.py", "--gib", 64, "--pages", 1000, "--seed", 1],
    "epochs": 2,
    "advance": {"steps": 2},
}


@dataclass(frozen=True)
class Run:
    """What a run of Snakemake came to."""

    code: int
    output: str

    def jobs(self) -> dict[str, int]:
        """Return how many jobs of each rule were done, or would be in a dry run."""
        table = re.search(r"^job +count\n[- ]+\n((?:\w+ +\d+\n)+)", self.output, re.MULTILINE)
        rows = table[1].splitlines() if table else []
        counts = {name: int(count) for name, count in (row.split() for row in rows)}
        return {name: n for name, n in counts.items() if name not in {"all", "total"}}


class Pipeline:
    """A directory with the workflow, a config, and results."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.results = directory / "results"
        for name in ("workflow", "workloads", "config"):
            shutil.copytree(ROOT / name, directory / name)
        shutil.copy2(ROOT / "Snakefile", directory)
        (directory / "profiles").symlink_to("workflow/profiles")
        self.configure(grid=GRID, sparse=SPARSE)

    def configure(self, **workloads: dict[str, Any]) -> None:
        """Make these the workloads of the config."""
        text = yaml.safe_dump({"workloads": workloads})
        (self.directory / "config" / "config.yaml").write_text(text)

    def command(self, *options: str) -> list[str]:
        """Return the command that a user would type."""
        return [str(BIN / "snakemake"), "--cores", "2", *options]

    def environment(self) -> dict[str, str]:
        """Return the environment of a fresh terminal."""
        return {key: value for key, value in os.environ.items() if not key.startswith("TIDEMARK")}

    def run(self, *options: str) -> Run:
        """Run Snakemake to its end."""
        return self._call(self.command(*options))

    def tidemark(self, *words: str) -> Run:
        """Run the command line to its end."""
        return self._call([str(BIN / "tidemark"), *words])

    def _call(self, command: list[str]) -> Run:
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stdout)

    def pending(self, *options: str) -> dict[str, int]:
        """Return the jobs that a run would do now, by rule."""
        planned = self.run("--dry-run", *options)
        assert planned.code == 0, planned.output
        return planned.jobs()

    def json(self, path: str) -> dict[str, Any]:
        """Return one JSON file of the results."""
        value: dict[str, Any] = json.loads((self.results / path).read_bytes())
        return value

    def lives(self) -> dict[str, str]:
        """Return the identity of each workload's keeper."""
        return {p.parent.name: json.loads(p.read_text())["life"] for p in self.lived()}

    def lived(self) -> list[Path]:
        """Return the files that say that a workload's live part is complete."""
        return sorted(self.results.glob("*/live.json"))

    def processes(self) -> list[str]:
        """Return the command lines of processes that work in this directory, or for it."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                here = (entry / "cwd").readlink() == self.directory
            except OSError:
                continue
            if here or str(self.directory) in command:
                found.append(f"{entry.name} {command}")
        return found
