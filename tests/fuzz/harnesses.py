"""What reads files in Python, each as a function of any bytes that says no in its own way or not.

Any other exception than an error of ours is a find, and so is what takes too long.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemark.bounded import DecodingError, Limits, parse_json
from tidemark.cli import main
from tidemark.config.load import load
from tidemark.errors import ConfigError, ImageError, TidemarkError
from tidemark.image.check import check_image
from tidemark.image.inventory import is_ours
from tidemark.image.manifest import CHECKSUM, dump_manifest
from tidemark.image.manifest_reader import load_manifest
from tidemark.image.pagemap import read_pagemap
from tidemark.keeper.record import read_keeper
from tidemark.restore.layout import read_layout
from tidemark.steps.bitmaps import get_bitmap, read_message

if TYPE_CHECKING:
    from collections.abc import Callable

_DIRECTORY = tempfile.TemporaryDirectory(prefix="tidemark-fuzz-")
# A fuzzer ends without giving anything back: whoever starts one lends it a directory.
HOME = Path(os.environ.get("TIDEMARK_FUZZ_HOME", _DIRECTORY.name))

_LIMITS = Limits(bytes=4096, depth=8, values=64)


def _file(name: str, data: bytes) -> Path:
    path = HOME / name
    path.write_bytes(data)
    return path


def fuzz_json(data: bytes) -> None:
    """Hold JSON within limits against its own encoding."""
    try:
        value = parse_json(data, _LIMITS)
    except DecodingError:
        return
    assert len(data) <= _LIMITS.bytes
    assert _depth(value) <= _LIMITS.depth
    assert _count(value) <= _LIMITS.values
    if not _has_infinity(value):
        assert json.loads(json.dumps(value)) == value


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _depth(value: Any) -> int:
    return isinstance(value, dict | list) + max(map(_depth, _parts(value)), default=0)


def _count(value: Any) -> int:
    return 1 + sum(map(_count, _parts(value)))


def _has_infinity(value: Any) -> bool:
    return (isinstance(value, float) and math.isinf(value)) or any(
        map(_has_infinity, _parts(value))
    )


def _sealed(data: bytes) -> bytes:
    """Return a manifest of these bytes with the checksum that belongs to them."""
    return CHECKSUM % hashlib.sha256(b"{" + data).hexdigest().encode() + data


def fuzz_manifest(data: bytes) -> None:
    """Read a manifest, and again as it would be written."""
    try:
        manifest, _ = load_manifest(_file("manifest.json", _sealed(data)))
    except ImageError:
        return
    again, _ = load_manifest(_file("manifest.json", dump_manifest(manifest)))
    assert again == manifest


def fuzz_layout(data: bytes) -> None:
    """Read a layout: it asks for what a process can have."""
    try:
        layout = read_layout(_file("layout.json", data))
    except ImageError:
        return
    for mapping in layout.mappings:
        assert 0 < mapping.start < mapping.end < 1 << 47
        assert mapping.protection & 6 != 6


def fuzz_keeper(data: bytes) -> None:
    """Read what a keeper says of itself."""
    with contextlib.suppress(TidemarkError):
        record = read_keeper(_file("keeper.json", data))
        assert 0 < record["pid"] <= 1 << 22
        assert "/" not in record["socket"]


def fuzz_criu(data: bytes) -> None:
    """Read the page map of any dump."""
    with contextlib.suppress(ImageError):
        _, entries = read_pagemap(_file("pagemap-shmem-1.img", data))
        end = 0
        for entry in entries:
            assert end <= entry.first_page < entry.end <= 1 << 35
            end = entry.end


def fuzz_inventory(data: bytes) -> None:
    """Read the mark of a dump directory."""
    with contextlib.suppress(ImageError):
        is_ours(_file("inventory.img", data))


def fuzz_config(data: bytes) -> None:
    """Read a config, or the list of all that is wrong in it."""
    with contextlib.suppress(ConfigError):
        load(_file("config.yaml", data))


def fuzz_bitmap_set(data: bytes) -> None:
    """Read the bitmaps of an epoch."""
    from tidemark.proto.tracking_pb2 import BitmapSet

    with contextlib.suppress(TidemarkError):
        message = read_message(_file("bitmap.pb", data), BitmapSet())
        for region in message.regions:
            with contextlib.suppress(ValueError, IndexError):
                get_bitmap(region.used)


def fuzz_image(data: bytes) -> None:
    """Check and show a dump: its files one after the other, each with its length before it."""
    directory = HOME / "image"
    directory.mkdir(exist_ok=True)
    for name in ("manifest.json", "inventory.img", "pagemap-shmem-1.img", "pages-1.img"):
        size = int.from_bytes(data[:2], "little")
        content, data = data[2 : 2 + size], data[2 + size :]
        if name == "manifest.json" and content:
            content = _sealed(content)
        path = directory / name
        path.unlink(missing_ok=True)
        if content:
            path.write_bytes(content)
    with contextlib.suppress(ImageError):
        check_image(directory)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main(["show", "--chain", str(directory)]) in {0, ImageError.exit_code}


HARNESSES: dict[str, Callable[[bytes], None]] = {
    "json": fuzz_json,
    "manifest": fuzz_manifest,
    "layout": fuzz_layout,
    "keeper": fuzz_keeper,
    "criu": fuzz_criu,
    "inventory": fuzz_inventory,
    "config": fuzz_config,
    "bitmap_set": fuzz_bitmap_set,
    "image": fuzz_image,
}
