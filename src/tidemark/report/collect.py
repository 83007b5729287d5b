"""Reading a results directory into records. docs/files.md is the contract.

A missing or damaged file costs a notice and the figures that it holds, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from tidemark.errors import TidemarkError
from tidemark.fields import FieldError, Fields
from tidemark.files import read_json
from tidemark.report import parse, unfinished
from tidemark.report.bitmaps import BitmapError, load_bitmaps, region_counts
from tidemark.report.model import Epoch, Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tidemark.report.model import Cost, RegionCounts

T = TypeVar("T")


@dataclass(frozen=True)
class _Reader:
    """The files of one workload, and what was wrong with them."""

    root: Path
    workload: str
    notices: list[str] = field(default_factory=list)

    def load(self, path: Path, make: Callable[[Fields], T], epoch: int | None = None) -> T | None:
        """Return what ``make`` makes of a JSON file, or None and a notice.

        Where ``epoch`` is given, the file must be of that epoch.
        """
        try:
            fields = Fields(read_json(path))
            if epoch is not None:
                fields.expect("workload", self.workload)
                fields.expect("epoch", epoch)
            return make(fields)
        except TidemarkError as error:
            # The message names the path; below the results it is the same on every machine.
            self.notices.append(str(error).replace(f"{self.root}/", ""))
        except FieldError as error:
            self.notice(path, error)
        return None

    def counts(self, path: Path, epoch: int) -> tuple[RegionCounts, ...] | None:
        """Return the counts of a bitmap.pb. One file's bitmaps are in memory at a time."""
        try:
            return tuple(region_counts(region) for region in load_bitmaps(path, epoch))
        except BitmapError as error:
            self.notice(path, error)
        return None

    def notice(self, path: Path, error: Exception) -> None:
        """Keep a sentence about ``path`` for the report."""
        self.notices.append(f"{path.relative_to(self.root)} {error}")


def collect(results: Path, name: str, epochs: int) -> Workload:
    """Return everything that the results hold about the workload ``name`` of ``epochs`` epochs."""
    reader = _Reader(results, name)
    live = reader.load(results / name / "live.json", parse.live)
    records = []
    for number in range(epochs):
        record = _epoch(reader, results / name / f"e{number}", number)
        if live is not None and number < len(live.frozen_seconds):
            record = replace(record, frozen_seconds=live.frozen_seconds[number])
        records.append(record)
    why = unfinished.reasons(results, name, epochs)
    return Workload(name, live, tuple(records), tuple(reader.notices), why)


def _epoch(reader: _Reader, directory: Path, number: int) -> Epoch:
    if not directory.is_dir():
        reader.notices.append(f"epoch {number} is missing: there is no {reader.workload}/e{number}")
        return Epoch(number)
    clear = reader.load(directory / "clear.json", parse.clear, number)
    layout = reader.load(directory / "layout.json", parse.layout)
    commands, mapped_by, names = layout or ((), {}, {})
    return Epoch(
        number=number,
        armed_at=clear[0] if clear else None,
        clear_seconds=clear[1] if clear else None,
        advance=reader.load(directory / "advance.json", parse.advance, number),
        bitmaps=reader.counts(directory / "bitmap.pb", number),
        manifest=reader.load(directory / "image" / "manifest.json", parse.manifest, number),
        verify=reader.load(directory / "verify.json", parse.verify, number),
        commands=commands,
        mapped_by=mapped_by,
        names=names,
        costs=_costs(reader, directory / "cost"),
    )


def _costs(reader: _Reader, directory: Path) -> tuple[Cost, ...]:
    """Return the costs of the steps that recorded any, in the order of the steps."""
    paths = [directory / f"{step}.json" for step in unfinished.EPOCH_STEPS]
    costs = [reader.load(path, parse.cost) for path in paths if path.exists()]
    return tuple(cost for cost in costs if cost is not None)
