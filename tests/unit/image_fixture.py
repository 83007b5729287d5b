"""Makes images for the tests: content by page, written by the product's own writer."""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.directories import PRIVATE
from tidemark.image.chain import Chain
from tidemark.image.manifest import Account
from tidemark.image.writer import RegionDump, write_image
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE
from tidemark.native.pages import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tidemark.image.manifest import Manifest
    from tidemark.image.spares import Spares

VOUCHED = Account(
    full=False,
    full_reason=None,
    vouched=4,
    settled=2,
    suspects={"unmapped": 2, "exited": 1},
    settled_changed=1,
    unchanged=0,
    audited=0,
    cleared=0,
)


def page_of(tag: int) -> bytes:
    """Return a page whose content says which it is."""
    return tag.to_bytes(8, "little") * (PAGE_SIZE // 8)


def peak() -> int:
    """Return the peak of this process's memory in bytes.

    Unlike ru_maxrss it does not begin with that of the process which started this one.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def forget_peak() -> None:
    """Let :func:`peak` begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def pages_of(numbers: Iterable[int], length: int) -> Bitmap:
    """Return a bitmap of these pages."""
    return Bitmap(length, [(number, 1) for number in numbers])


@dataclass(frozen=True)
class Content:
    """What one dump says of one region: tags of the present pages, and those in the parent."""

    present: Mapping[int, int] = field(default_factory=dict)
    in_parent: Sequence[int] = ()
    length: int = 16


def write(  # noqa: PLR0913 - what the product's own takes
    target: Path,
    regions: Mapping[int, Content],
    parent: Path | None = None,
    epoch: int = 0,
    *,
    spares: Spares | None = None,
    mode: int = PRIVATE,
    becomes: Path | None = None,
) -> Manifest:
    """Write an image of ``regions`` by number."""
    descriptors: list[int] = []
    try:
        with Chain(parent) if parent else nullcontext() as chain:
            return write_image(
                target,
                [_dump(number, content, descriptors) for number, content in regions.items()],
                workload="grid",
                epoch=epoch,
                tracker="uffd-wp",
                parent=chain,
                spares=spares,
                mode=mode,
                becomes=becomes,
            )
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _dump(number: int, content: Content, descriptors: list[int]) -> RegionDump:
    descriptors.append(os.memfd_create("content"))
    for page, tag in content.present.items():
        os.pwrite(descriptors[-1], page_of(tag), page * PAGE_SIZE)
    return RegionDump(
        number=number,
        kind="anonymous",
        pages=content.length,
        present=pages_of(content.present, content.length),
        in_parent=pages_of(content.in_parent, content.length),
        source=Source.file(descriptors[-1], content.length),
        account=VOUCHED,
    )


def small_chain(root: Path) -> list[Path]:
    """Write e0, e1, e2 of two regions below ``root``, and return them, oldest first."""
    images = [root / f"e{epoch}" / "image" for epoch in range(3)]
    write(images[0], {1: Content({0: 1, 1: 2, 2: 3, 8: 4}), 2: Content({3: 5, 4: 6})})
    write(
        images[1],
        {1: Content({1: 7, 9: 8}, [0, 2, 8]), 2: Content({5: 9}, [3, 4])},
        images[0],
        epoch=1,
    )
    write(images[2], {1: Content({2: 10, 3: 11}, [0, 1, 9]), 2: Content({}, [3, 5])}, images[1], 2)
    return images


SMALL_CHAIN = {
    1: {0: 1, 1: 7, 2: 10, 3: 11, 9: 8},
    2: {3: 5, 5: 9},
}
"""What the newest image of :func:`small_chain` holds: by region, tags by page."""
