"""Telling checkpoints of ours from what only has such a name: by their content."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from tidemark.directories import mount_of
from tidemark.errors import ImageError
from tidemark.image.inventory import is_ours
from tidemark.image.manifest_reader import load_manifest
from tidemark.image.names import INVENTORY, MANIFEST, PARENT, is_image_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tidemark.image.manifest import Manifest

LAYOUT = "layout.json"
IMAGE = "image"
_DIGITS = 6
_UNFINISHED = re.compile(r"\.image\.(squashed|[0-9]+\.tmp)", re.ASCII)
_LEFT = re.compile(r"\.lock|\.lock\.holder.*|\.spares|\.[0-9]+\.removed", re.ASCII)
"""What a former version left beside its checkpoints. It stays."""


_LOCK_BYTES = 256


def name_of(number: int) -> str:
    """Return the name of a checkpoint's directory."""
    return f"{number:0{_DIGITS}}"


def number_of(name: str) -> int | None:
    """Return the number that the name of a checkpoint's directory is made of; None for others."""
    if not (name.isascii() and name.isdecimal()):
        return None
    number = int(name)
    return number if name == name_of(number) else None


def looks_like_one(path: Path) -> bool:
    """Return whether a directory, which is no link, has an image that came about whole."""
    image = path / IMAGE
    return (
        _is(stat.S_ISDIR, path) and _is(stat.S_ISDIR, image) and _is(stat.S_ISREG, image / MANIFEST)
    )


def is_one(path: Path, number: int) -> bool:
    """Return whether a directory is the checkpoint of that number: its manifest says so.

    Where that is damaged, the signature in the inventory tells that it is one of ours.
    """
    if not looks_like_one(path):
        return False
    manifest = _manifest_of(path / IMAGE)
    if manifest is not None:
        return manifest.epoch == number
    try:
        return is_ours(path / IMAGE / INVENTORY)
    except ImageError:
        return False


MOUNT = "a mount"
"""What is foreign where something is mounted on a checkpoint, or on its image."""


def foreign_in(path: Path) -> str | None:
    """Return what a checkpoint's directory holds that we have not written; None for nothing.

    So is what is mounted there: it stands elsewhere, too, and we have made no mount.
    """
    for directory in (path, path / IMAGE):
        with suppress(FileNotFoundError):
            if mount_of(directory) != mount_of(f"{path.parent}/."):
                return MOUNT
    for name in _names(path):
        if _UNFINISHED.fullmatch(name) and _is(stat.S_ISDIR, path / name):
            foreign = next(_foreign_files(path / name, None), None)
        elif name == IMAGE and _is(stat.S_ISDIR, path / name):
            foreign = next(_foreign_files(path / name, _manifest_of(path / name)), None)
        else:
            foreign = None if name == LAYOUT and _is(stat.S_ISREG, path / name) else ""
        if foreign is not None:
            return f"{name}/{foreign}" if foreign else name
    return None


def first_foreign(directory: Path, names: Sequence[str]) -> str | None:
    """Return what keeps a directory from being a series of a former version, which had no mark.

    Each entry is a checkpoint of ours and nothing else, or what a writer that was killed left
    beside them; and there is a checkpoint.
    """
    found = False
    for name in names:
        number = number_of(name)
        if number is None:
            if not _LEFT.fullmatch(name):
                return name
        elif not _is(stat.S_ISDIR, directory / name) or foreign_in(directory / name):
            return name
        elif is_one(directory / name, number):
            found = True
        elif os.path.lexists(directory / name / IMAGE):
            return name
    return None if found or _is_former_lock(directory, names) else names[0] if names else None


def _is_former_lock(directory: Path, names: Sequence[str]) -> bool:
    """Return whether a lock is all that a former version has left: it was killed soon."""
    lock = directory / ".lock"
    if list(names) != [lock.name] or not _is(stat.S_ISREG, lock):
        return False
    with suppress(OSError):
        return lock.read_bytes()[:_LOCK_BYTES].startswith(b"process ")
    return False


def _foreign_files(image: Path, manifest: Manifest | None) -> Iterator[str]:
    """Yield the names in an image that its manifest, or else their form, does not account for."""
    listed = {MANIFEST, *manifest.files} if manifest else None
    for name in _names(image):
        if name == PARENT:
            known = _is(stat.S_ISLNK, image / name) or _is(stat.S_ISREG, image / name)
        else:
            ours = is_image_name(name) if listed is None else name in listed
            known = ours and _is(stat.S_ISREG, image / name)
        if not known:
            yield name


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def _manifest_of(image: Path) -> Manifest | None:
    try:
        return load_manifest(image / MANIFEST)[0]
    except ImageError:
        return None


def _is(kind: Callable[[int], bool], path: Path) -> bool:
    try:
        return kind(path.lstat().st_mode)
    except OSError:
        return False
