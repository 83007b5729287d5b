"""The names of the files in a dump directory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

INVENTORY = "inventory.img"
MANIFEST = "manifest.json"
PARENT = "parent"
PAGES = "pages-*.img"
"""What the names of files with content match."""

_ANY = re.compile(r"(pagemap-shmem|pages)-(0|[1-9][0-9]{0,19})\.img", re.ASCII)
_PAGEMAP = re.compile(r"pagemap-shmem-(0|[1-9][0-9]{0,19})\.img", re.ASCII)


def pagemap_name(shmid: int) -> str:
    """Return the name of a region's page map."""
    return f"pagemap-shmem-{shmid}.img"


def pages_name(pages_id: int) -> str:
    """Return the name of the file with the content that a page map lists."""
    return f"pages-{pages_id}.img"


def shmids_of(names: Iterable[str]) -> list[int]:
    """Return the regions that have a page map among the files ``names``, ascending."""
    return sorted(int(match[1]) for name in names if (match := _PAGEMAP.fullmatch(name)))


def is_image_name(name: str) -> bool:
    """Return whether a dump of ours may hold a file of that name."""
    return name in {INVENTORY, MANIFEST} or _ANY.fullmatch(name) is not None
