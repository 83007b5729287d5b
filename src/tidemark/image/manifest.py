"""manifest.json: what a dump of ours holds, hash by hash."""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemark.errors import ImageError
from tidemark.files import dump_json
from tidemark.image.framing import REMEDY, open_file
from tidemark.native.pages import file_hash

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tidemark.unsaved import Unsaved

CHECKSUM = b'{\n "checksum": "%b",'
"""How a manifest begins: with the SHA-256 of itself without this line."""


@dataclass(frozen=True)
class Account:
    """How a region's dump came to its pages; the counts are pages.

    ``vouched``: the tracker alone decided; ``settled``: compared with the parent, of which
    ``settled_changed`` differed; ``suspects``: by reason, a page may stand under several;
    ``unchanged``: stored to, and found to be as in the parent, to which they are left;
    ``audited``: called clean by the tracker, compared all the same, and found to be so;
    ``cleared``: the parent has them, and they are zero or holes now.
    """

    full: bool
    full_reason: str | None
    vouched: int
    settled: int
    suspects: Mapping[str, int]
    settled_changed: int
    unchanged: int
    audited: int
    cleared: int

    @classmethod
    def of_full(cls, reason: str | None) -> Account:
        """Return the account of a dump that left nothing to a parent, for a ``reason``."""
        return cls(
            full=True,
            full_reason=reason,
            vouched=0,
            settled=0,
            suspects={},
            settled_changed=0,
            unchanged=0,
            audited=0,
            cleared=0,
        )


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and XXH3-128 in hex of one file of the dump: of pages, that of their hashes."""

    bytes: int
    xxh3: str


@dataclass(frozen=True)
class RegionRecord:
    """One region; ``page_hashes`` are 16 bytes for each present page, in order."""

    shmid: int
    kind: str
    pages: int
    present: int
    in_parent: int
    page_hashes: bytes
    account: Account


@dataclass(frozen=True)
class ParentLink:
    """The parent's directory, relative to the dump's own, and the SHA-256 of its manifest."""

    path: str
    manifest_sha256: str


@dataclass(frozen=True)
class Manifest:
    """All of manifest.json; ``regions`` ascend by number, ``page_size`` is in bytes.

    ``stands_for``: the SHA-256 of the manifest of an image with parents, of which this one has the
    content without them; its children take this one for their parent. ``unsaved``: what processes
    shared besides; an older manifest does not tell.
    """

    page_size: int
    workload: str
    epoch: int
    tracker: str
    parent: ParentLink | None
    files: Mapping[str, FileRecord]
    regions: tuple[RegionRecord, ...]
    stands_for: str | None = None
    unsaved: tuple[Unsaved, ...] = ()

    def region(self, shmid: int) -> RegionRecord | None:
        """Return the record of a region, or None where the dump has no such region."""
        return next((region for region in self.regions if region.shmid == shmid), None)


def manifest_sha256(content: bytes) -> str:
    """Return the hash by which a child names its parent's manifest."""
    return hashlib.sha256(content).hexdigest()


def dump_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of manifest.json: sorted keys, a checksum first."""
    parent = manifest.parent
    content = dump_json(
        {
            "page_size": manifest.page_size,
            "workload": manifest.workload,
            "epoch": manifest.epoch,
            "tracker": manifest.tracker,
            "parent": parent and vars(parent),
            "files": {name: vars(record) for name, record in manifest.files.items()},
            "regions": [_region_value(region) for region in manifest.regions],
            "stands_for": manifest.stands_for,
            **(
                {"unsaved": [one.to_json() for one in manifest.unsaved]} if manifest.unsaved else {}
            ),
        }
    )
    # The first key in order, so that this is the JSON that sorting all keys would give.
    return CHECKSUM % hashlib.sha256(content).hexdigest().encode() + content[1:]


def file_record(path: Path) -> FileRecord:
    """Return the record of a file of messages as it is now; it is read as a whole.

    :raises ImageError: when it is missing, unreadable, anything but a file, or sparse
    """
    descriptor = open_file(path)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.lseek(descriptor, 0, os.SEEK_HOLE) < size:
            raise ImageError(f"{path} has holes, which messages have not; {REMEDY}")
        return FileRecord(size, file_hash(descriptor, size).hex())
    finally:
        os.close(descriptor)


def _region_value(region: RegionRecord) -> dict[str, Any]:
    return {
        **vars(region.account),
        "suspects": dict(region.account.suspects),
        "shmid": region.shmid,
        "kind": region.kind,
        "pages": region.pages,
        "present": region.present,
        "in_parent": region.in_parent,
        "page_hashes": b64encode(region.page_hashes).decode(),
    }
