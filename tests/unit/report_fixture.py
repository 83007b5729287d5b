"""Writes results directories in the documented formats, for the report's tests.

A bitmap is one Python integer here: bit p is page p.
"""

from __future__ import annotations

import json
import random
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tidemark.files import dump_json
from tidemark.proto.criu_pb2 import PagemapEntry, PagemapHead
from tidemark.proto.tracking_pb2 import Bitmap, BitmapSet, Chunk, RegionBitmaps, SuspectCount
from tidemark.report import Outputs, write_report

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
REASON = "the tracker was asked for; it sees every write that this kernel lets it see"


@dataclass(frozen=True)
class Region:
    """One region in one epoch; ``changed`` are the suspects that differed."""

    number: int = 1
    kind: str = "anonymous"
    name: str = "/dev/zero"
    pages: int = 4096
    used: int = 0
    dirty: int = 0
    suspect: int = 0
    changed: int = 0
    reason: str = "unmapped"
    full_reason: str | None = None


@dataclass(frozen=True)
class Plan:
    """A workload: its regions by epoch, and what went wrong in which epoch."""

    name: str
    epochs: tuple[tuple[Region, ...], ...]
    tracker: str = "uffd-wp"
    processes: int = 4
    different: dict[int, int] = field(default_factory=dict)
    missed: dict[int, int] = field(default_factory=dict)
    command: str = "python3"


def put(path: Path, content: bytes) -> None:
    """Write a file without making it durable: a fixture is gone after the test."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def put_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file of ours."""
    put(path, dump_json(value))


def packed(bits: int, pages: int) -> Bitmap:
    """Return an integer as a Bitmap message."""
    content = bits.to_bytes(-(-pages // 32768) * 4096, "little")
    parts = ((i // 4096, content[i : i + 4096]) for i in range(0, len(content), 4096))
    chunks = [Chunk(index=index, bits=some) for index, some in parts if some.strip(b"\0")]
    return Bitmap(pages=pages, chunks=chunks)


def _bitmap_set(plan: Plan, epoch: int) -> bytes:
    regions = [
        RegionBitmaps(
            number=region.number,
            kind=region.kind,
            pages=region.pages,
            known=epoch > 0,
            used=packed(region.used, region.pages),
            dirty=packed(region.dirty, region.pages),
            suspect=packed(region.suspect, region.pages),
            used_count=region.used.bit_count(),
            dirty_count=region.dirty.bit_count(),
            suspect_count=region.suspect.bit_count(),
            suspects_by_reason=[
                SuspectCount(reason=region.reason, pages=region.suspect.bit_count())
            ]
            * bool(region.suspect),
        )
        for region in plan.epochs[epoch]
    ]
    message = BitmapSet(schema=1, epoch=epoch, page_size=PAGE, tracker=plan.tracker)
    message.workload = plan.name
    message.regions.extend(regions)
    return message.SerializeToString(deterministic=True)


def is_full(region: Region, epoch: int) -> bool:
    """Return whether the dump of a region has no parent for it."""
    return epoch == 0 or region.full_reason is not None


def carried(region: Region, epoch: int) -> int:
    """Return the pages that the dump of ``epoch`` carries anew."""
    return region.used if is_full(region, epoch) else region.dirty | region.changed


def _dump(region: Region, epoch: int) -> dict[str, Any]:
    full, present = is_full(region, epoch), carried(region, epoch) & region.used
    settled = 0 if full else region.suspect.bit_count()
    return {
        "shmid": region.number,
        "kind": region.kind,
        "pages": region.pages,
        "full": full,
        "full_reason": region.full_reason,
        "present": present.bit_count(),
        "in_parent": 0 if full else (region.used & ~present).bit_count(),
        "page_hashes": "",
        "vouched": region.pages - settled,
        "settled": settled,
        "suspects": {region.reason: region.suspect.bit_count()} if region.suspect else {},
        "settled_changed": 0 if full else region.changed.bit_count(),
        "unchanged": 0,
        "audited": 0,
        "cleared": (carried(region, epoch) & ~region.used).bit_count(),
    }


def runs(bits: int) -> list[tuple[int, int]]:
    """Return the set bits as runs of first, count."""
    found, at = [], 0
    while bits:
        zeros = (bits & -bits).bit_length() - 1
        bits >>= zeros
        ones = (~bits & (bits + 1)).bit_length() - 1
        found.append((at + zeros, ones))
        bits >>= ones
        at += zeros + ones
    return found


def _pagemap(region: Region, epoch: int) -> bytes:
    messages = [PagemapHead(pages_id=region.number).SerializeToString()]
    for first, count in runs(carried(region, epoch) & region.used):
        entry = PagemapEntry(vaddr=first * PAGE, compat_nr_pages=0, flags=4, nr_pages=count)
        messages.append(entry.SerializeToString())
    body = b"".join(struct.pack("<I", len(message)) + message for message in messages)
    return struct.pack("<II", 0x54564319, 0x56084025) + body


def _write_image(directory: Path, plan: Plan, epoch: int) -> None:
    files: dict[str, Any] = {"inventory.img": {"bytes": 12, "xxh3": "0" * 32}}
    regions = [_dump(region, epoch) for region in plan.epochs[epoch]]
    for region, dump in zip(plan.epochs[epoch], regions, strict=True):
        # Page maps are written where the report reads them: where suspects were settled.
        content = _pagemap(region, epoch) if region.suspect else b""
        put(directory / f"pagemap-shmem-{region.number}.img", content)
        files[f"pagemap-shmem-{region.number}.img"] = {"bytes": len(content), "xxh3": "0" * 32}
        files[f"pages-{region.number}.img"] = {"bytes": dump["present"] * PAGE, "xxh3": "0" * 32}
    manifest = {"page_size": PAGE, "workload": plan.name, "epoch": epoch, "files": files}
    manifest |= {"tracker": plan.tracker, "regions": regions}
    manifest["parent"] = {"path": "../../e0/image", "manifest_sha256": ""} if epoch else None
    put_json(directory / "manifest.json", manifest)


def _verify(plan: Plan, epoch: int) -> dict[str, Any]:
    regions = plan.epochs[epoch]
    dirty = sum(carried(region, epoch).bit_count() for region in regions)
    missed = plan.missed.get(epoch, 0)
    changed = max(dirty - dirty // 50, 0) + missed
    return {
        "tracker": plan.tracker,
        "pages": plan.processes * sum(region.used.bit_count() for region in regions),
        "different": plan.different.get(epoch, 0),
        "changed": changed,
        "dirty": dirty,
        "missed": missed,
        "recall": (changed - missed) / changed if changed else 1.0,
        "precision": (changed - missed) / dirty if dirty else 1.0,
        "holders": plan.processes,
        "sharing": {"seen": plan.processes, "of": plan.processes},
    }


def write_workload(results: Path, plan: Plan, seed: int = 1) -> None:
    """Write everything that the report reads of one workload."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    for epoch in range(len(plan.epochs)):
        _write_epoch(results / plan.name / f"e{epoch}", plan, epoch, rng)
    machine = {"kernel": "6.18.1", "architecture": "x86_64", "cpus": 2, "hostname": "tide"}
    machine |= {"memory_bytes": 24 << 30, "python": "3.11.7", "tidemark": "0.1.0"}
    frozen = [round(rng.uniform(0.8, 1.6), 4) for _ in plan.epochs]
    live: dict[str, Any] = {"workload": plan.name, "life": "9f0c", "epochs": len(plan.epochs)}
    live |= {"tracker": plan.tracker, "tracker_reason": REASON, "frozen_seconds": frozen}
    live |= {"exit": {"code": 0, "signal": None}, "check": None, "machine": machine}
    put_json(results / plan.name / "live.json", live)


def _write_epoch(directory: Path, plan: Plan, epoch: int, rng: random.Random) -> None:
    here: dict[str, Any] = {"workload": plan.name, "epoch": epoch, "life": "9f0c", "sequence": 1}
    clear = here | {"tracker": plan.tracker, "tracker_reason": REASON, "regions": 1, "mappings": 4}
    clear |= {"pages_armed": 1, "seconds": 0.0021, "at": f"2026-01-31T12:00:{epoch:02}.000Z"}
    ran = {"at_start": plan.processes, "born": 0, "exited": 0, "at_end": plan.processes}
    advance = here | {"quantum": {"steps": 10}, "steps": 10, "processes": ran}
    advance |= {"running_seconds": round(rng.uniform(0.4, 0.6), 4), "freeze_seconds": 0.0002}
    put_json(directory / "clear.json", clear)
    put_json(directory / "advance.json", advance | {"frozen_before_seconds": 1.0})
    put(directory / "bitmap.pb", _bitmap_set(plan, epoch))
    _write_image(directory / "image", plan, epoch)
    processes = [{"number": n, "parent": None, "command": plan.command} for n in range(4)]
    mappings = [
        {"process": n, "region": region.number, "start": 0, "page": 0, "count": region.pages}
        for n in range(4)
        for region in plan.epochs[epoch]
    ]
    regions = [{"number": r.number, "name": r.name} for r in plan.epochs[epoch]]
    layout = {"processes": processes, "regions": regions, "mappings": mappings}
    put_json(directory / "layout.json", layout)
    put_json(directory / "verify.json", here | _verify(plan, epoch))
    for step in ("clear", "advance", "collect", "merge", "dump", "restore", "verify"):
        cost = {"step": step, "seconds": round(rng.uniform(0.1, 0.4), 4), "cpu_seconds": 0.09}
        cost |= {"peak_memory_bytes": rng.randrange(20 << 20, 60 << 20)}
        put_json(directory / "cost" / f"{step}.json", cost)


def report(results: Path, *names: tuple[str, int]) -> tuple[str, dict[str, Any]]:
    """Write the report of some workloads and return its HTML and its summary."""
    outputs = Outputs.below(results)
    write_report(results, names, outputs)
    return outputs.html.read_text(encoding="utf-8"), json.loads(outputs.json.read_bytes())


def names(*plans: Plan) -> list[tuple[str, int]]:
    """Return what write_report wants to know of workloads."""
    return [(plan.name, len(plan.epochs)) for plan in plans]
