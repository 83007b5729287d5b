"""manifest.json: what a dump of ours holds, hash by hash."""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tidemark.errors import ImageError
from tidemark.files import SCHEMA, dump_json
from tidemark.image.framing import REMEDY, file_size, open_file, reading
from tidemark.image.names import INVENTORY, pagemap_name, pages_name
from tidemark.native.pages import HASH_BYTES, file_hash
from tidemark.unsaved import Unsaved

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_T = TypeVar("_T")
_CHECKSUM = b'{\n "checksum": "%b",'


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
    return _CHECKSUM % hashlib.sha256(content).hexdigest().encode() + content[1:]


def file_record(path: Path) -> FileRecord:
    """Return the record of a file as it is now.

    :raises ImageError: when it is missing, unreadable, or anything but a file
    """
    descriptor = open_file(path)
    try:
        size = os.fstat(descriptor).st_size
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


def load_manifest(path: Path) -> tuple[Manifest, str]:
    """Return the manifest in ``path``, and its SHA-256.

    :raises ImageError: when it is missing, was changed since it was written, or says what
        cannot be
    """
    file_size(path)
    with reading(path):
        content = path.read_bytes()
    _verify_checksum(content, path)
    try:
        manifest = _manifest(json.loads(content))
        _verify(manifest)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{path} is not a manifest: {error}; {REMEDY}") from error
    return manifest, manifest_sha256(content)


def _verify_checksum(content: bytes, path: Path) -> None:
    length = len(_CHECKSUM % bytes(64))
    body = b"{" + content[length:]
    if content[:length] != _CHECKSUM % hashlib.sha256(body).hexdigest().encode():
        raise ImageError(f"{path} is not as it was written; {REMEDY}")


def _manifest(value: Any) -> Manifest:
    if _get(value, "schema", int) != SCHEMA:
        raise ValueError(f"it is not of schema {SCHEMA}")
    parent = _optional(value, "parent", dict)
    files = _get(value, "files", dict)
    return Manifest(
        page_size=_get(value, "page_size", int),
        workload=_get(value, "workload", str),
        epoch=_get(value, "epoch", int),
        tracker=_get(value, "tracker", str),
        parent=None
        if parent is None
        else ParentLink(_get(parent, "path", str), _get(parent, "manifest_sha256", str)),
        files={name: _file(_get(files, name, dict)) for name in files},
        regions=tuple(_region(region) for region in _get(value, "regions", list)),
        stands_for=_optional(value, "stands_for", str),
        unsaved=tuple(_unsaved(one) for one in _optional(value, "unsaved", list) or ()),
    )


def _unsaved(value: Any) -> Unsaved:
    processes = [{"process": number} for number in _get(value, "processes", list)]
    return Unsaved(
        kind=_get(value, "kind", str),
        name=_get(value, "name", str),
        bytes=_get(value, "bytes", int),
        processes=tuple(_get(each, "process", int) for each in processes),
    )


def _file(value: Any) -> FileRecord:
    return FileRecord(bytes=_get(value, "bytes", int), xxh3=_get(value, "xxh3", str))


def _region(value: Any) -> RegionRecord:
    return RegionRecord(
        shmid=_get(value, "shmid", int),
        kind=_get(value, "kind", str),
        pages=_get(value, "pages", int),
        present=_get(value, "present", int),
        in_parent=_get(value, "in_parent", int),
        page_hashes=b64decode(_get(value, "page_hashes", str), validate=True),
        account=_account(value),
    )


def _account(value: Any) -> Account:
    suspects = _get(value, "suspects", dict)
    return Account(
        full=_get(value, "full", bool),
        full_reason=_optional(value, "full_reason", str),
        vouched=_get(value, "vouched", int),
        settled=_get(value, "settled", int),
        suspects={reason: _get(suspects, reason, int) for reason in suspects},
        settled_changed=_get(value, "settled_changed", int),
        unchanged=_get(value, "unchanged", int),
        audited=_get(value, "audited", int),
        cleared=_get(value, "cleared", int),
    )


def _get(value: Any, key: str, kind: type[_T]) -> _T:
    item = value.get(key) if isinstance(value, dict) else None
    # `type`, not `isinstance`: true is no number here.
    if type(item) is not kind or (isinstance(item, int) and item < 0):
        raise ValueError(f"its `{key}` is missing or wrong")
    return item


def _optional(value: Any, key: str, kind: type[_T]) -> _T | None:
    return None if isinstance(value, dict) and value.get(key) is None else _get(value, key, kind)


def _verify(manifest: Manifest) -> None:
    shmids = [region.shmid for region in manifest.regions]
    if shmids != sorted(set(shmids)):
        raise ValueError("its regions are out of order")
    named = {name(shmid) for shmid in shmids for name in (pagemap_name, pages_name)}
    if set(manifest.files) != named | {INVENTORY}:
        raise ValueError("its `files` are not those of its regions")
    for region in manifest.regions:
        _verify_region(region, manifest)


def _verify_region(region: RegionRecord, manifest: Manifest) -> None:
    if region.present + region.in_parent > region.pages:
        raise ValueError(f"region {region.shmid} has more pages than it is long")
    if region.in_parent and manifest.parent is None:
        raise ValueError(f"region {region.shmid} has pages in a parent, and there is none")
    if len(region.page_hashes) != region.present * HASH_BYTES:
        raise ValueError(f"region {region.shmid} has not one hash for each page")
    size = manifest.files[pages_name(region.shmid)].bytes
    if size != region.present * manifest.page_size:
        raise ValueError(f"{pages_name(region.shmid)} would not hold the pages of its region")
