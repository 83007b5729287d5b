"""What the last run on other kernels found, as a document.

usage: document.py

Writes docs/kernels.md from what `make test-kernels` left.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from packages import CACHE, ROOT

from tidemark.cli.probe import GUARANTEES
from tidemark.keeper.trackers import BEST_FIRST, CONTENT

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULTS = CACHE / "results"
DOCUMENT = ROOT / "docs" / "kernels.md"

_HEAD = """\
# Kernels

Debian's kernels, booted in emulated machines by `make test-kernels`. This file is written from the
last run by `python tests/kernels/document.py`; each answer is what `tidemark probe --json` found
there, as root, by doing the thing; on arm64, what the native library found.

"""


def probes() -> dict[str, dict[str, Any]]:
    """Return what the probe found, by kernel."""
    found = sorted(RESULTS.glob("*/probe.json"), key=lambda path: _version(path.parent.name))
    return {path.parent.name: _with_tracker(json.loads(path.read_text())) for path in found}


def _with_tracker(probe: dict[str, Any]) -> dict[str, Any]:
    """Add the tracker that `auto` takes, where only the native library was asked."""
    works = (name for name in BEST_FIRST if probe["features"][name]["works"])
    tracker = probe.setdefault("tracker", next(works, CONTENT))
    probe.setdefault("guarantee", GUARANTEES[tracker])
    return probe


def _version(name: str) -> tuple[bool, list[int]]:
    numbers = [int(part) for part in name.split(".") if part.isdigit()]
    return not numbers, numbers


def features() -> Iterator[str]:
    """Yield the rows of the table of features and trackers."""
    found = probes()
    yield _row("", *(f"{each['kernel']}, {each['architecture']}" for each in found.values()))
    yield _row(*["---"] * (len(found) + 1))
    for name in next(iter(found.values()))["features"]:
        answers = (each["features"][name] for each in found.values())
        yield _row(name, *("yes" if each["works"] else f"no: {each['reason']}" for each in answers))
    yield _row("**tracker**", *(each["tracker"] for each in found.values()))
    yield _row("what it guarantees", *(each["guarantee"] for each in found.values()))


def tests() -> Iterator[str]:
    """Yield the rows of the table of tests."""
    yield _row("kernel", "group", "passed", "failed", "skipped", "seconds")
    yield _row(*["---"] * 6)
    for path in sorted(RESULTS.glob("*.json")):
        boot = json.loads(path.read_text())
        for group, cases in boot["groups"].items():
            counts = Counter(case["outcome"] for case in cases)
            numbers = [str(counts[word]) for word in ("passed", "failed", "skipped")]
            seconds = f"{boot['wall'].get(group, 0):.0f}"
            yield _row(boot["release"] or boot["kernel"], group, *numbers, seconds)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def main() -> int:
    """Write the document."""
    if not probes():
        sys.stderr.write("there are no results; run `make test-kernels` first\n")
        return 1
    text = _HEAD + "".join(features())
    if any(RESULTS.glob("*.json")):
        text += "\n## Tests\n\n" + "".join(tests())
    DOCUMENT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
