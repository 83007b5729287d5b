"""The files of images that were seen to be sound: believed until somebody writes to them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tidemark.errors import ImageError
from tidemark.image.check import check_file, differing_pages
from tidemark.image.framing import REMEDY
from tidemark.image.names import MANIFEST, pages_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tidemark.image.directory import Image
    from tidemark.image.manifest import Manifest

Identity = tuple[object, int]
"""What the manifest of an image is known by, and a hash of what all of its files are known by."""


def identity_of(image: Path) -> Identity | None:
    """Return what an image is known by: another one once any file of it was written to.

    None where it is gone.
    """
    try:
        with os.scandir(image) as entries:
            files = {entry.name: _identity(entry) for entry in entries}
    except OSError:
        return None
    return files.get(MANIFEST), hash(frozenset(files.items()))


def _identity(entry: os.DirEntry[str]) -> tuple[int, int, int, int]:
    status = entry.stat(follow_symlinks=False)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Seen:
    """What this process has seen of images, so that each of their files is read once.

    Content is not read, as that would be all that was ever saved: only that of an image of which a
    file was written to since it was seen.
    """

    def __init__(self) -> None:
        self._known: Mapping[Path, Identity | None] = {}

    def believe(self, known: Mapping[Path, Identity | None]) -> None:
        """Take images, and no others, for seen: as this process has written or checked them."""
        self._known = known

    def check(self, images: Iterable[Image]) -> None:
        """Check the page maps and inventories of a chain, and the sizes of all its files.

        :raises ImageError: for the first damage found
        """
        before, now = self._known, {}
        for image in images:
            if image.manifest is not None:
                known, found = before.get(image.path), identity_of(image.path)
                if known is None or known != found:
                    same = known is not None and found is not None and known[0] == found[0]
                    _check(image.path, image.manifest, content=same)
                now[image.path] = found
        self._known = now


def _check(path: Path, manifest: Manifest, *, content: bool) -> None:
    regions = {pages_name(region.shmid): region for region in manifest.regions}
    for name, record in manifest.files.items():
        region = regions.get(name)
        check_file(path / name, record, whole=region is None)
        if content and region is not None and differing_pages(path / name, region):
            raise ImageError(f"{path / name} was written to, and is damaged; {REMEDY}")
