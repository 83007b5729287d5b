"""collect: what the tracker and the kernel say of the epoch, mapping by mapping, as scan.pb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidemark.files import write_bytes
from tidemark.proto import tracking_pb2 as pb
from tidemark.steps.bitmaps import SCHEMA
from tidemark.steps.live import asking

if TYPE_CHECKING:
    from pathlib import Path


def collect(keeper: Path, epoch: int, target: Path) -> None:
    """Ask the keeper for the epoch's scan and write it to ``target``."""
    with asking(keeper) as client:
        answer, _ = client.ask("collect", epoch=epoch)
        write_bytes(target, scan_of(answer).SerializeToString(deterministic=True))


def scan_of(answer: dict[str, Any]) -> pb.Scan:
    """Return the keeper's answer as a message."""
    scan = pb.Scan(
        schema=SCHEMA,
        workload=answer["workload"],
        epoch=answer["epoch"],
        page_size=answer["page_size"],
        tracker=answer["tracker"],
    )
    for region in answer["regions"]:
        suspicions = region.pop("suspicions")
        message = scan.regions.add(**region)
        for reason, runs in suspicions.items():
            message.suspicions.add(reason=reason, runs=runs)
    for mapping in answer["mappings"]:
        scan.mappings.add(**mapping)
    return scan
