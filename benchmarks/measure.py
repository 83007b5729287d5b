"""Measure one comparison of a config, and keep all samples.

usage: measure.py CONFIG NAME TO
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from rows import MEASURES

from tidemark.files import write_json


def criu() -> str:
    """Say whether there is a CRIU that works here, by its own check."""
    if shutil.which("criu") is None:
        return "CRIU is not installed here"
    done = subprocess.run(["criu", "check"], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return "A CRIU is installed here that passes its own check"
    reason = (done.stdout + done.stderr).strip().splitlines()[-1]
    return f"The CRIU that is installed here fails its own check ({reason})"


def main() -> None:
    """Measure, and write the samples with the machine's facts and its load."""
    config, name, to = sys.argv[1:]
    declared: dict[str, Any] = yaml.safe_load(Path(config).read_text())["comparisons"][name]
    before = os.getloadavg()
    samples = list(MEASURES[declared["measure"]](declared["with"], declared["pairs"]))
    write_json(
        Path(to),
        {
            "name": name,
            "declared": declared,
            "samples": samples,
            "load": [before, os.getloadavg()],
            "machine": {
                "kernel": platform.release(),
                "architecture": platform.machine(),
                "cpus": os.cpu_count(),
                "python": platform.python_version(),
                "criu": criu(),
            },
        },
    )


if __name__ == "__main__":
    main()
