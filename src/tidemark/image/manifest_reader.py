"""Reading manifest.json: nothing of it is believed that an image cannot hold."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tidemark.bounded import Limits, parse_json, read_regular
from tidemark.errors import ImageError
from tidemark.fields import LARGEST, Fields
from tidemark.files import SCHEMA
from tidemark.image.framing import REMEDY, reading
from tidemark.image.manifest import (
    CHECKSUM,
    Account,
    FileRecord,
    Manifest,
    ParentLink,
    RegionRecord,
    manifest_sha256,
)
from tidemark.image.names import INVENTORY, PAGES, pagemap_name, pages_name
from tidemark.native.pages import HASH_BYTES
from tidemark.unsaved import Unsaved

if TYPE_CHECKING:
    from pathlib import Path

_SMALLEST_PAGE = 4096
_TEXT_OF_HASH_BYTES = 22
_MOST_BYTES = 64 << 20
_MOST_VALUES = 1 << 21
_MOST_OF_WORD = 256
_MOST_OF_PATH = 4096
"""What is believed of a manifest: bytes beside the hashes, values, characters of a text."""


def load_manifest(path: Path) -> tuple[Manifest, str]:
    """Return the manifest in ``path``, and its SHA-256.

    :raises ImageError: when it is missing, was changed since it was written, is longer than the
        files beside it justify, or says what cannot be
    """
    with reading(path):
        limits = _limits(path.parent)
        content = read_regular(path, limits.bytes)
    _verify_checksum(content, path)
    try:
        manifest = _manifest(Fields.of(parse_json(content, limits)))
        _verify(manifest)
    except ValueError as error:
        raise ImageError(f"{path} is not a manifest: it {error}; {REMEDY}") from error
    return manifest, manifest_sha256(content)


def _limits(directory: Path) -> Limits:
    """Return how long a manifest can be beside these files: it has a hash of each of their pages.

    The hashes are a few long texts; what it says besides is bounded by itself.
    """
    pages = sum(path.stat().st_size for path in directory.glob(PAGES)) // _SMALLEST_PAGE
    return Limits(bytes=_MOST_BYTES + pages * _TEXT_OF_HASH_BYTES, values=_MOST_VALUES)


def _verify_checksum(content: bytes, path: Path) -> None:
    length = len(CHECKSUM % bytes(64))
    body = b"{" + content[length:]
    if content[:length] != CHECKSUM % hashlib.sha256(body).hexdigest().encode():
        raise ImageError(f"{path} is not as it was written; {REMEDY}")


def _manifest(value: Fields) -> Manifest:
    value.expect("schema", SCHEMA)
    files = value.group("files")
    return Manifest(
        page_size=value.page_size("page_size"),
        workload=value.exact("workload"),
        epoch=value.whole("epoch"),
        tracker=value.exact("tracker", _MOST_OF_WORD),
        parent=_parent(value.optional_group("parent")),
        files={name: _file(files.group(name)) for name in files.value},
        regions=tuple(_region(region) for region in value.groups("regions")),
        stands_for=value.optional_text("stands_for", _MOST_OF_WORD),
        unsaved=tuple(_unsaved(one) for one in value.optional_groups("unsaved")),
    )


def _parent(value: Fields | None) -> ParentLink | None:
    if value is None:
        return None
    return ParentLink(value.exact("path", _MOST_OF_PATH), value.text("manifest_sha256", 64))


def _unsaved(value: Fields) -> Unsaved:
    return Unsaved(
        kind=value.exact("kind", _MOST_OF_WORD),
        name=value.exact("name"),
        bytes=value.whole("bytes", (1 << 63) - 1),  # of a file: as long as any can be
        processes=value.list_of_wholes("processes"),
    )


def _file(value: Fields) -> FileRecord:
    return FileRecord(bytes=value.whole("bytes"), xxh3=value.exact("xxh3", _MOST_OF_WORD))


def _region(value: Fields) -> RegionRecord:
    return RegionRecord(
        shmid=value.whole("shmid", (1 << 32) - 1),
        kind=value.exact("kind", _MOST_OF_WORD),
        pages=value.whole("pages", LARGEST // _SMALLEST_PAGE),
        present=value.whole("present"),
        in_parent=value.whole("in_parent"),
        page_hashes=value.base64("page_hashes"),
        account=_account(value),
    )


def _account(value: Fields) -> Account:
    return Account(
        full=value.flag("full"),
        full_reason=value.optional_text("full_reason"),
        vouched=value.whole("vouched"),
        settled=value.whole("settled"),
        suspects=value.group("suspects").wholes(),
        settled_changed=value.whole("settled_changed"),
        unchanged=value.whole("unchanged"),
        audited=value.whole("audited"),
        cleared=value.whole("cleared"),
    )


def _verify(manifest: Manifest) -> None:
    shmids = [region.shmid for region in manifest.regions]
    if shmids != sorted(set(shmids)):
        raise ValueError("has its regions out of order")
    named = {name(shmid) for shmid in shmids for name in (pagemap_name, pages_name)}
    if set(manifest.files) != named | {INVENTORY}:
        raise ValueError("has `files` that are not those of its regions")
    for region in manifest.regions:
        _verify_region(region, manifest)


def _verify_region(region: RegionRecord, manifest: Manifest) -> None:
    if region.present + region.in_parent > region.pages:
        raise ValueError(f"says that region {region.shmid} has more pages than it is long")
    if region.in_parent and manifest.parent is None:
        raise ValueError(
            f"says that region {region.shmid} has pages in a parent, and there is none"
        )
    if len(region.page_hashes) != region.present * HASH_BYTES:
        raise ValueError(f"says that region {region.shmid} has not one hash for each page")
    size = manifest.files[pages_name(region.shmid)].bytes
    if size != region.present * manifest.page_size:
        raise ValueError(
            f"says that {pages_name(region.shmid)} would not hold the pages of its region"
        )
