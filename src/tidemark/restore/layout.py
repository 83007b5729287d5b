"""layout.json: which process mapped what where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemark.errors import ImageError
from tidemark.files import read_json
from tidemark.native.library import PAGE_SIZE

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class LaidMapping:
    """One mapping: ``count`` pages of ``region`` from ``page`` on, at address ``start``."""

    process: int
    region: int
    start: int
    page: int
    count: int
    protection: int

    def address_of(self, page: int) -> int:
        """Return the address at which the mapping shows a page of its region."""
        return self.start + (page - self.page) * PAGE_SIZE


@dataclass(frozen=True)
class Layout:
    """The mappings of a dump, by process and address."""

    processes: tuple[int, ...]
    pages: dict[int, int]  # length of each region
    mappings: tuple[LaidMapping, ...]

    def of_process(self, number: int) -> list[LaidMapping]:
        """Return the mappings of one process."""
        return [mapping for mapping in self.mappings if mapping.process == number]

    def of_region(self, number: int) -> list[LaidMapping]:
        """Return the mappings of one region, in all processes."""
        return [mapping for mapping in self.mappings if mapping.region == number]


def read_layout(path: Path) -> Layout:
    """Return the layout that a dump wrote.

    :raises ImageError: when it is damaged
    """
    value = read_json(path)
    try:
        return _layout(value)
    except (KeyError, TypeError, ValueError) as error:
        raise ImageError(f"{path} is damaged ({error!r}); dump again, or use a copy") from error


def _layout(value: dict[str, Any]) -> Layout:
    layout = Layout(
        processes=tuple(sorted(process["number"] for process in value["processes"])),
        pages={region["number"]: region["pages"] for region in value["regions"]},
        mappings=tuple(
            LaidMapping(
                mapping["process"],
                mapping["region"],
                mapping["start"],
                mapping["page"],
                mapping["count"],
                mapping["protection"],
            )
            for mapping in value["mappings"]
        ),
    )
    for mapping in layout.mappings:
        if mapping.process not in layout.processes or mapping.region not in layout.pages:
            raise ValueError(f"a mapping at {mapping.start:#x} is of no listed process or region")
        if mapping.start % PAGE_SIZE or mapping.count <= 0 or mapping.page < 0:
            raise ValueError(f"a mapping at {mapping.start:#x} is not a range of pages")
    return layout
