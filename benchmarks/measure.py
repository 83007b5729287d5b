"""Measure one comparison of a config, and keep all samples.

usage: measure.py CONFIG NAME TO
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml
from rows import MEASURES

from tidemark.files import write_json


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
                "criu": shutil.which("criu"),
            },
        },
    )


if __name__ == "__main__":
    main()
