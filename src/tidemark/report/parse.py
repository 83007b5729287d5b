"""One function per JSON file of docs/files.md: from its fields to its record.

All of them raise :class:`tidemark.fields.FieldError` for what the contract forbids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemark.report.human import plural
from tidemark.report.model import (
    Advance,
    Cost,
    Live,
    Machine,
    Manifest,
    RegionDump,
    Verify,
)
from tidemark.unsaved import Unsaved

if TYPE_CHECKING:
    from tidemark.fields import Fields

Layout = tuple[tuple[str, ...], dict[int, int], dict[int, str]]


def clear(fields: Fields) -> tuple[str, float]:
    """Return when the trackers were armed (ISO 8601, UTC), and the seconds that it took."""
    return fields.text("at"), fields.number("seconds")


def advance(fields: Fields) -> Advance:
    """Return what ran."""
    command = fields.optional_group("command")
    return Advance(
        quantum=_quantum(fields.group("quantum")),
        steps=fields.optional_whole("steps"),
        running_seconds=fields.number("running_seconds"),
        freeze_seconds=fields.number("freeze_seconds"),
        processes=fields.group("processes").wholes(),
        command=command.texts("argv") if command else None,
        command_exit=command.optional_whole("exit_code") if command else None,
    )


def _quantum(fields: Fields) -> str:
    """Return the quantum in words: 10 steps, 0.5 seconds, command pgbench -T 2."""
    words = []
    for key, value in sorted(fields.value.items()):
        if isinstance(value, list):
            words.append(f"{key} {' '.join(fields.texts(key))}")
        elif isinstance(value, str):
            words.append(f"{key} {fields.text(key)}")
        else:
            words.append(f"{value} {key}")
    return ", ".join(words)


def manifest(fields: Fields) -> Manifest:
    """Return what the dump holds."""
    listed = fields.group("files")
    sizes = {name: listed.group(name).whole("bytes") for name in listed.value}
    return Manifest(
        page_size=fields.page_size("page_size"),
        tracker=fields.text("tracker"),
        has_parent=fields.optional_group("parent") is not None,
        image_bytes=sum(sizes.values()),
        pages_bytes=sum(size for name, size in sizes.items() if name.startswith("pages-")),
        regions=tuple(_region(region) for region in fields.groups("regions")),
        unsaved=tuple(_unsaved(one) for one in fields.optional_groups("unsaved")),
    )


def _unsaved(fields: Fields) -> Unsaved:
    return Unsaved(
        kind=fields.text("kind"),
        name=fields.text("name"),
        bytes=fields.whole("bytes"),
        processes=tuple(map(int, fields.numbers("processes"))),
    )


def _region(fields: Fields) -> RegionDump:
    return RegionDump(
        number=fields.whole("shmid"),
        full=fields.flag("full"),
        full_reason=fields.optional_text("full_reason"),
        present=fields.whole("present"),
        in_parent=fields.whole("in_parent"),
        cleared=fields.whole("cleared"),
        settled=fields.whole("settled"),
        settled_changed=fields.whole("settled_changed"),
        unchanged=fields.whole("unchanged"),
        audited=fields.whole("audited"),
    )


def layout(fields: Fields) -> Layout:
    """Return the processes' commands, and by region the number of mappers and the name."""
    commands = tuple(process.text("command") for process in fields.groups("processes"))
    mappers: dict[int, set[int]] = {}
    for mapping in fields.groups("mappings"):
        mappers.setdefault(mapping.whole("region"), set()).add(mapping.whole("process"))
    mapped_by = {region: len(who) for region, who in sorted(mappers.items())}
    names = {region.whole("number"): region.text("name") for region in fields.groups("regions")}
    return commands, mapped_by, names


def verify(fields: Fields) -> Verify:
    """Return how the restored pages compare with the truth."""
    sharing = fields.group("sharing")
    return Verify(
        pages=fields.whole("pages"),
        different=fields.whole("different"),
        changed=fields.whole("changed"),
        dirty=fields.whole("dirty"),
        missed=fields.whole("missed"),
        recall=fields.number("recall"),
        precision=fields.number("precision"),
        holders=fields.whole("holders"),
        sharing_seen=sharing.whole("seen"),
        sharing_of=sharing.whole("of"),
        missing=tuple(_missing(one) for one in fields.optional_groups("missing")),
        unjudged=fields.optional_whole("unjudged") or 0,
        unjudged_objects=fields.texts("unjudged_objects") if fields.has("unjudged_objects") else (),
    )


def _missing(fields: Fields) -> str:
    pages = plural(fields.whole("pages"), "page")
    return f"{fields.text('kind')} {fields.text('name')} ({pages} with content)"


def cost(fields: Fields) -> Cost:
    """Return what one step's job took."""
    return Cost(
        step=fields.text("step"),
        seconds=fields.number("seconds"),
        cpu_seconds=fields.number("cpu_seconds"),
        peak_memory_bytes=fields.whole("peak_memory_bytes"),
    )


def live(fields: Fields) -> Live:
    """Return the workload's life."""
    check = fields.optional_group("check")
    return Live(
        tracker=fields.text("tracker"),
        tracker_reason=fields.text("tracker_reason"),
        frozen_seconds=fields.numbers("frozen_seconds"),
        ended=_ended(fields.optional_group("exit")),
        check=check.texts("argv") if check else None,
        check_exit=check.optional_whole("exit_code") if check else None,
        machine=_machine(fields.group("machine")),
    )


def _ended(fields: Fields | None) -> str:
    if fields is None:
        return "runs on (it was attached to)"
    signal = fields.optional_whole("signal")
    return f"ended by signal {signal}" if signal else f"exit code {fields.optional_whole('code')}"


def _machine(fields: Fields) -> Machine:
    return Machine(
        kernel=fields.text("kernel"),
        architecture=fields.text("architecture"),
        cpus=fields.whole("cpus"),
        memory_bytes=fields.whole("memory_bytes"),
        hostname=fields.text("hostname"),
        python=fields.text("python"),
        tidemark=fields.text("tidemark"),
    )
