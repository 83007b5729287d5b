"""Measure one comparison of a config, and keep all samples.

usage: measure.py CONFIG NAME TO
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import criu_peer
import yaml
from criu_peer import LackingError

from tidemark.errors import TrackerError
from tidemark.files import write_json
from tidemark.steps.live import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _measures() -> dict[str, Callable[[dict[str, Any], int], Iterator[dict[str, float]]]]:
    import content
    import dag
    import rows

    return content.MEASURES | criu_peer.MEASURES | dag.MEASURES | rows.MEASURES


def main() -> None:
    """Measure, and write the samples with the machine's facts and its load."""
    config, name, to = sys.argv[1:]
    declared: dict[str, Any] = yaml.safe_load(Path(config).read_text())["comparisons"][name]
    before = os.getloadavg()
    lacking, samples = None, []
    try:
        measure = _measures()[declared["measure"]]
        samples = list(measure(declared["with"], declared["pairs"]))
    except (TrackerError, LackingError) as error:
        lacking = str(error)
    write_json(
        Path(to),
        {
            "name": name,
            "declared": declared,
            "samples": samples,
            "lacking": lacking,
            "load": [before, os.getloadavg()],
            "machine": machine(),
        },
    )


if __name__ == "__main__":
    main()
