"""``tidemark show``: list what a dump, or a chain of them, holds."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemark.console import printable_line
from tidemark.files import dump_json

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from tidemark.image.directory import Image
    from tidemark.image.manifest import RegionRecord
    from tidemark.unsaved import Unsaved

SUMMARY = "list what a dump, or a chain of them, holds"
_COLUMNS = ("region", "kind", "pages", "present", "in parent", "holes", "bytes")


@dataclass(frozen=True)
class Shown:
    """One region of one dump; ``runs`` are (first page, count, kind), adjacent ones joined."""

    shmid: int
    record: RegionRecord | None
    runs: list[tuple[int, int, str]]

    def count(self, kind: str) -> int:
        """Return the number of pages of one kind."""
        return sum(count for _, count, of in self.runs if of == kind)

    @property
    def pages(self) -> int:
        """Return the length; without a manifest, up to the last page that is listed."""
        if self.record:
            return self.record.pages
        return self.runs[-1][0] + self.runs[-1][1] if self.runs else 0


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``[--json] [--chain] DIR``."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="a dump, or an epoch's DIR")
    parser.add_argument("--chain", action="store_true", help="list the parents too, newest first")
    parser.add_argument("--json", action="store_true", help="print every run of pages, as JSON")


def run(arguments: Namespace) -> int:
    """Print what the page maps say; their content is not read.

    :raises ImageError: when the directory is no dump, or its page maps are damaged, or are not
        what its manifest says
    """
    from tidemark.image.chain import open_images
    from tidemark.image.directory import find_image, open_image

    directory = find_image(arguments.directory)
    images = open_images(directory) if arguments.chain else [open_image(directory)]
    if arguments.json:
        newest = _value(images[0])
        chain = {"chain": [_value(image) for image in images]} if arguments.chain else {}
        sys.stdout.write(dump_json(newest | chain).decode())
    else:
        sys.stdout.write("\n".join(_text(image) for image in images))
    return 0


def _regions(image: Image) -> list[Shown]:
    from tidemark.image.level import listed

    regions = []
    for shmid in image.shmids:
        _, entries = listed(image, shmid)
        runs = [(entry.first_page, entry.count, str(entry.kind)) for entry in entries]
        record = image.manifest.region(shmid) if image.manifest else None
        regions.append(Shown(shmid, record, runs))
    return regions


def _value(image: Image) -> dict[str, Any]:
    value: dict[str, Any] = {
        "directory": str(image.path),
        "parent": image.link,
        "regions": [_region_value(region) for region in _regions(image)],
    }
    if manifest := image.manifest:
        for key in ("workload", "epoch", "tracker"):
            value[key] = getattr(manifest, key)
        value["unsaved"] = [one.to_json() for one in manifest.unsaved]
    return value


def _region_value(region: Shown) -> dict[str, Any]:
    value = {"shmid": region.shmid, "pages": region.pages, "runs": region.runs}
    if record := region.record:
        value |= {"kind": record.kind, **vars(record.account)}
    return value


def _text(image: Image) -> str:
    regions = _regions(image)
    rows = [_COLUMNS, *(_row(region) for region in regions)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    accounts = [_account(region.record) for region in regions if region.record]
    unsaved = _unsaved(image.manifest.unsaved if image.manifest else ())
    all_lines = (_heading(image), *lines, *accounts, *unsaved)
    return "".join(f"{printable_line(line)}\n" for line in all_lines)


def _unsaved(unsaved: Sequence[Unsaved]) -> list[str]:
    from tidemark.unsaved import phrase_of

    if not unsaved:
        return []
    return [
        f"not saved: {phrase_of(one.kind for one in unsaved)}",
        *(f"  {one}" for one in unsaved),
    ]


def _heading(image: Image) -> str:
    parent = f"parent {image.link}" if image.link else "no parent"
    if not image.manifest:
        return f"{image.path}: {parent}, no manifest"
    of = f"epoch {image.manifest.epoch} of {image.manifest.workload}"
    return f"{image.path}: {of}, tracker {image.manifest.tracker}, {parent}"


def _row(region: Shown) -> tuple[str, ...]:
    from tidemark.native.library import PAGE_SIZE

    present, inherited = region.count("present"), region.count("parent")
    record = region.record
    counts = (region.pages, present, inherited, region.pages - present - inherited)
    return (
        str(region.shmid),
        record.kind if record else "?",
        *map(str, counts),
        str(present * PAGE_SIZE),
    )


def _account(record: RegionRecord) -> str:
    account = record.account
    line = (
        f"region {record.shmid}: {account.vouched} pages vouched for, {account.settled} settled "
        f"by content ({account.settled_changed} changed), {account.cleared} cleared"
    )
    if account.unchanged:
        line += f", {account.unchanged} stored to and unchanged"
    if account.audited:
        line += f", {account.audited} audited"
    if account.suspects:
        reasons = (f"{reason} {count}" for reason, count in sorted(account.suspects.items()))
        line += f"; suspects: {', '.join(reasons)}"
    return line + (f"; in full: {account.full_reason}" if account.full_reason else "")
