"""What it costs, while a workload stands, to know that no write was lost.

usage: soundness.py [--mib 1024] [--processes 4] [--share 0.01] [--epochs 100] [--to FILE]

One workload goes through epochs of two kinds in turn. In the one all is done that is done in a
run: scan, merge, settle, dump to memory, clear. In the other the witness is left out, who tells of
what no tracker sees: writes through descriptors, other mappings and other processes. The line at
the end gives the ratio of the medians; all samples are kept in FILE.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.image.chain import Chain
from tidemark.image.writer import write_image
from tidemark.keeper.live import Live
from tidemark.keeper.session import Session
from tidemark.keeper.witness import Testimony
from tidemark.steps.collect import scan_of
from tidemark.steps.dump import settle_all, sources_of
from tidemark.steps.merge import merge_scan
from tidemark.workload import Advance, Policy, Ready, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tidemark.keeper.region import Region

AT_MOST = 1.05
TARGET = Path(__file__).parent / "target.py"


class Silence:
    """A witness that is asked nothing and knows nothing."""

    def begin(self, *_: object) -> None:
        """Watch nothing."""

    def thawing(self) -> None:
        """Forget nothing."""

    pinned = False

    def examine(self, regions: Iterable[Region], *_: object) -> dict[int, Testimony]:
        """Say of all regions that nobody touched them."""
        return {region.number: Testimony.UNTOUCHED for region in regions}


class Bench:
    """A workload whose freezes are timed, with the witness and without."""

    def __init__(self, workload: Workload, directory: Path) -> None:
        self._directory = directory
        self._live = Live(workload, directory, None)
        self._session = Session(self._live)
        self._witness = self._live.tracking._witness  # noqa: SLF001 - it is what is measured

    def begin(self) -> None:
        """Start the workload and make the dump that is the parent of the first."""
        self._session.begin()
        self._session.clear()
        self.window(0, sound=True)

    def window(self, epoch: int, *, sound: bool) -> float:
        """Go through an epoch; return for how many seconds the workload stood for its dump."""
        tracking = self._live.tracking
        tracking._witness = self._witness if sound else Silence()  # type: ignore[assignment]  # noqa: SLF001
        self._session.advance()
        begun = time.perf_counter()
        self._dump(epoch)
        self._session.clear()
        seconds = time.perf_counter() - begun
        tracking._witness = self._witness  # noqa: SLF001
        self._witness.begin(tracking.in_order(), list(self._live.tree.processes))
        return seconds

    def _dump(self, epoch: int) -> None:
        """Write an image. All have one parent: the same pages are written in each epoch."""
        told = {"workload": "bench", "epoch": epoch} | self._session.collect()
        bitmaps = merge_scan(scan_of(told))
        answer, descriptors = self._session.open()
        target = self._directory / f"e{epoch}"
        with Chain(self._directory / "e0") if epoch else nullcontext() as chain:
            write_image(
                target,
                settle_all(bitmaps, answer, sources_of(answer, descriptors), chain),
                workload="bench",
                epoch=epoch,
                tracker=bitmaps.tracker,
                parent=chain,
            )
        self._check(bitmaps.regions[0].suspect_count)

    @staticmethod
    def _check(suspects: int) -> None:
        """Fail where there are suspects: their settling is not what is measured here."""
        if suspects:
            raise SystemExit(f"{suspects} pages are suspect; end what else maps the region")

    def end(self) -> None:
        """Kill the workload."""
        self._session.abandon()


def declare(options: argparse.Namespace) -> Workload:
    """Return the program that is measured as a workload."""
    words = (options.mib, options.processes, options.share)
    return Workload(
        name="bench",
        run=(sys.executable, str(TARGET), *map(str, words)),
        attach_pid=None,
        attach_pidfile=None,
        epochs=options.epochs,
        advance=Advance(1, None, None),
        tracker="uffd-wp",
        policy=Policy(),
        ready=Ready(True, None, None),
        timeout=120.0,
        stop_signal="KILL",
        stop_grace=1.0,
        check=None,
        env={},
    )


def measure(options: argparse.Namespace) -> dict[str, list[float]]:
    """Return the seconds of each freeze, in the order in which they were taken."""
    samples: dict[str, list[float]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        bench = Bench(declare(options), Path(directory))
        try:
            bench.begin()
            for epoch in range(1, options.epochs + 1):
                sound = bool(epoch % 2)
                samples["with" if sound else "without"].append(bench.window(epoch, sound=sound))
        finally:
            bench.end()
    return samples


def main() -> int:
    """Measure, keep the samples, and print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--to", type=Path, default=Path("results/benchmarks/soundness.json"))
    options = parser.parse_args()
    samples = measure(options)
    medians = {kind: statistics.median(seconds) for kind, seconds in samples.items()}
    least = {kind: min(seconds) for kind, seconds in samples.items()}
    ratio = medians["with"] / medians["without"]
    options.to.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "options": {key: str(value) for key, value in vars(options).items()},
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
    }
    options.to.write_text(json.dumps({"seconds": samples, "ratio": ratio, **facts}, indent=1))
    sys.stdout.write(
        f"soundness: frozen {1e3 * medians['with']:.1f} ms with the witness, "
        f"{1e3 * medians['without']:.1f} ms without; ratio of medians {ratio:.3f}, of minima "
        f"{least['with'] / least['without']:.3f}, at most {AT_MOST}: "
        f"{'holds' if ratio <= AT_MOST else 'does not hold'}\n"
    )
    return 0 if ratio <= AT_MOST else 1


if __name__ == "__main__":
    sys.exit(main())
