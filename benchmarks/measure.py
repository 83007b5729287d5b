"""Measure one comparison of a config, and keep all samples.

usage: measure.py CONFIG NAME TO
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tidemark.errors import TrackerError
from tidemark.files import write_json
from tidemark.steps.live import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def criu() -> str:
    """Say whether there is a CRIU that works here, by its own check."""
    if shutil.which("criu") is None:
        return "CRIU is not installed here"
    done = subprocess.run(["criu", "check"], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return "A CRIU is installed here that passes its own check"
    reason = (done.stdout + done.stderr).strip().splitlines()[-1]
    return f"The CRIU that is installed here fails its own check ({reason})"


def _measures() -> dict[str, Callable[[dict[str, Any], int], Iterator[dict[str, float]]]]:
    import content
    import dag
    import rows

    return content.MEASURES | dag.MEASURES | rows.MEASURES


def main() -> None:
    """Measure, and write the samples with the machine's facts and its load."""
    config, name, to = sys.argv[1:]
    declared: dict[str, Any] = yaml.safe_load(Path(config).read_text())["comparisons"][name]
    before = os.getloadavg()
    lacking, samples = None, []
    try:
        measure = _measures()[declared["measure"]]
        samples = list(measure(declared["with"], declared["pairs"]))
    except TrackerError as error:
        lacking = str(error)
    write_json(
        Path(to),
        {
            "name": name,
            "declared": declared,
            "samples": samples,
            "lacking": lacking,
            "load": [before, os.getloadavg()],
            "machine": {**machine(), "criu": criu()},
        },
    )


if __name__ == "__main__":
    main()
