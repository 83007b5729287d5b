"""layout.json: which process mapped what where."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from tidemark.bounded import Limits, parse_json, read_regular
from tidemark.fields import FieldError, Fields
from tidemark.files import SCHEMA
from tidemark.image.framing import reading
from tidemark.image.pagemap import MAX_PAGES
from tidemark.native.library import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

READ, WRITE, EXECUTE = 1, 2, 4

_LIMITS = Limits(bytes=1 << 28, depth=4, values=1 << 24)
_FIRST_ADDRESS = 1 << 16
"""Below, the kernel maps nothing for an ordinary program (vm.mmap_min_addr)."""
_LAST_ADDRESS = (1 << 47) - PAGE_SIZE
"""The end of what a process can map, unless it asks for more (Documentation/arch/x86/x86_64/mm)."""
_LAST_PROCESS = 1 << 22


@dataclass(frozen=True)
class LaidMapping:
    """One mapping: ``count`` pages of ``region`` from ``page`` on, at address ``start``."""

    process: int
    region: int
    start: int
    page: int
    count: int
    protection: int

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + self.count * PAGE_SIZE

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
        return self._by_process.get(number, [])

    def of_region(self, number: int) -> list[LaidMapping]:
        """Return the mappings of one region, in all processes."""
        return self._by_region.get(number, [])

    @cached_property
    def _by_process(self) -> dict[int, list[LaidMapping]]:
        return _grouped((mapping.process, mapping) for mapping in self.mappings)

    @cached_property
    def _by_region(self) -> dict[int, list[LaidMapping]]:
        return _grouped((mapping.region, mapping) for mapping in self.mappings)


def _grouped(pairs: Iterable[tuple[int, LaidMapping]]) -> dict[int, list[LaidMapping]]:
    groups: dict[int, list[LaidMapping]] = defaultdict(list)
    for key, mapping in pairs:
        groups[key].append(mapping)
    return dict(groups)


def read_layout(path: Path, *, own: bool = False) -> Layout:
    """Return the layout that a dump wrote.

    :param own: this run has written it, so that it may hold code that can be written
    :raises ImageError: when it is damaged, or asks for what no process of a dump had
    """
    with reading(path):
        value = parse_json(read_regular(path, _LIMITS.bytes), _LIMITS)
        layout = _layout(Fields.of(value))
        _verify(layout, own=own)
    return layout


def _layout(value: Fields) -> Layout:
    value.expect("schema", SCHEMA)
    processes = sorted(each.whole("number", _LAST_PROCESS) for each in value.groups("processes"))
    regions = [
        (each.whole("number"), each.whole("pages", MAX_PAGES)) for each in value.groups("regions")
    ]
    pages = dict(regions)
    if len(set(processes)) != len(processes) or len(pages) != len(regions):
        raise FieldError("lists a process or a region twice")
    return Layout(tuple(processes), pages, tuple(map(_mapping, value.groups("mappings"))))


def _mapping(value: Fields) -> LaidMapping:
    return LaidMapping(
        process=value.whole("process", _LAST_PROCESS),
        region=value.whole("region"),
        start=value.whole("start"),
        page=value.whole("page", MAX_PAGES),
        count=value.whole("count", MAX_PAGES),
        protection=value.whole("protection", READ | WRITE | EXECUTE),
    )


def _verify(layout: Layout, *, own: bool) -> None:
    processes = set(layout.processes)
    for mapping in layout.mappings:
        if mapping.process not in processes or mapping.region not in layout.pages:
            raise FieldError(f"has a mapping at {mapping.start:#x} of no listed process or region")
        _verify_range(mapping)
        if not own and mapping.protection & WRITE and mapping.protection & EXECUTE:
            raise FieldError(
                f"asks for code that can be written, at {mapping.start:#x} of process "
                f"{mapping.process}: restore as files with --to"
            )
    for number in layout.processes:
        _verify_apart(layout.of_process(number))


def _verify_range(mapping: LaidMapping) -> None:
    within = mapping.start >= _FIRST_ADDRESS and mapping.end <= _LAST_ADDRESS
    if mapping.start % PAGE_SIZE or not mapping.count or not within:
        raise FieldError(
            f"has a mapping of {mapping.count} pages at {mapping.start:#x}, which no process can "
            "have"
        )
    if mapping.page + mapping.count > MAX_PAGES:
        raise FieldError(f"has a mapping at {mapping.start:#x} of pages that no region can have")


def _verify_apart(mappings: list[LaidMapping]) -> None:
    ordered = sorted(mappings, key=lambda mapping: mapping.start)
    for before, after in pairwise(ordered):
        if after.start < before.end:
            raise FieldError(
                f"has two mappings at {after.start:#x} of process {after.process}, where one can be"
            )
