"""A dump and its parents, read as one: every page from the dump that holds it."""

from __future__ import annotations

import errno
import os
import resource
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tidemark.errors import ImageError
from tidemark.image.directory import Image, open_image
from tidemark.image.framing import REMEDY, open_file, reading
from tidemark.image.level import walk_levels
from tidemark.image.names import MANIFEST, PARENT
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE
from tidemark.native.pages import Extent, Source, zero_by_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

_Layer = tuple[Path, Bitmap, bytes | None]
"""A pages file, the pages that it holds, packed, and the hash of each, if there is a manifest."""

MAX_DEPTH = 10_000
"""The longest chain that is followed, in images."""


def open_images(path: Path) -> list[Image]:
    """Return the image in ``path`` and all its parents, newest first.

    :raises ImageError: for a parent that is missing, not the one that was recorded, or its own
        descendant, and for a chain of more than MAX_DEPTH images
    """
    images = [open_image(path)]
    seen = {_identity(path)}
    while (step := _parent_path(images[-1])) is not None:
        child = images[-1].path
        if _identity(step) in seen:
            raise ImageError(f"{child / PARENT} leads back to {step}; {REMEDY}")
        if len(images) == MAX_DEPTH:
            raise ImageError(f"{path} has {MAX_DEPTH} parents or more; dump in full now and then")
        seen.add(_identity(step))
        images.append(open_image(step))
        _verify_parent(images[-2], images[-1])
    return images


def _identity(path: Path) -> tuple[int, int]:
    with reading(path):
        status = path.stat()
    return status.st_dev, status.st_ino


def _parent_path(image: Image) -> Path | None:
    if image.link is None:
        return None
    try:
        # Each link from where it really stands, so that paths do not grow along the chain.
        path = Path(os.path.realpath(image.path / image.link))
        if stat.S_ISDIR(path.stat().st_mode):
            return path
        reason = "that is not a directory"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise ImageError(
        f"{image.path / PARENT} leads to no dump: {reason}; put the parent there again"
    )


def _verify_parent(child: Image, parent: Image) -> None:
    recorded = child.manifest.parent if child.manifest else None
    if recorded and not parent.is_known_as(recorded.manifest_sha256):
        raise ImageError(
            f"{parent.path} is not the parent that {child.path} was made on: its {MANIFEST} is "
            f"another one; put the right parent there"
        )


@dataclass(frozen=True)
class ChainRegion:
    """One region as it was at the dump; ``present`` are its pages with content.

    ``pages`` is its length, known from the manifest, or else up to the last page listed. Its
    ``source`` reads pages without content as zero, and serves until the chain is closed.
    """

    shmid: int
    pages: int
    present: Bitmap
    source: Source


class Chain:
    """The image in ``path`` with all its parents; a context manager.

    Opening checks that each parent is the right one. Files are opened when a region is asked
    for, and only those that hold some of its pages. What pages hold is checked by
    :func:`tidemark.image.check.check_image`, not here.

    ``opened``: the descriptors of the pages files that the sources of its regions read.

    :param later: open it only when it is asked for something
    :raises ImageError: see :func:`open_images`
    """

    def __init__(self, path: Path, *, later: bool = False) -> None:
        self.path = path
        self._regions: dict[int, ChainRegion] = {}
        self._read: dict[int, tuple[Bitmap, list[_Layer]]] = {}
        self._descriptors = ExitStack()
        self.opened: list[int] = []
        if not later:
            _ = self.images

    @cached_property
    def images(self) -> list[Image]:
        """The image with all its parents, newest first."""
        return open_images(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def sha256(self) -> str | None:
        """The hash of the newest image's manifest, by which a child names it."""
        return self.images[0].sha256

    def close(self) -> None:
        """Close all files. The sources of all regions end with that."""
        self._regions.clear()
        self.opened.clear()
        self._descriptors.close()

    def regions(self) -> tuple[int, ...]:
        """Return the numbers of the regions that the newest image has, ascending."""
        return self.images[0].shmids

    def content(self, shmid: int) -> Bitmap:
        """Return the pages with content of a region, without opening what holds them.

        :raises ImageError: as :meth:`region`
        """
        return self._layers(shmid)[0]

    def region(self, shmid: int) -> ChainRegion:
        """Return a region of the newest image.

        :raises ImageError: when a page map is damaged, a page is left to a parent that lacks
            it, or a pages file is not as long as it should be
        """
        if shmid not in self._regions:
            content, layers = self._layers(shmid)
            source = Source(self._extents(content, layers))
            self._regions[shmid] = ChainRegion(shmid, content.pages, content, source)
        return self._regions[shmid]

    def zero(self, shmid: int) -> Bitmap | None:
        """Return the pages with content that are all zero; None where no manifest tells.

        :raises ImageError: as :meth:`region`
        """
        content, layers = self._layers(shmid)
        zero, wanted = Bitmap(content.pages), content.copy()
        for _, present, hashes in layers:
            if hashes is None:
                return None
            zero |= zero_by_hash(present, hashes) & wanted
            wanted -= present
        return self.region(shmid).source.zero(zero)  # others can be made that have that hash

    def _layers(self, shmid: int) -> tuple[Bitmap, list[_Layer]]:
        """Return the pages with content, and what may hold them, newest first."""
        if shmid not in self._read:
            self._read[shmid] = self._read_layers(shmid)
        return self._read[shmid]

    def _read_layers(self, shmid: int) -> tuple[Bitmap, list[_Layer]]:
        if shmid not in self.regions():
            raise ImageError(f"{self.images[0].path} has no region {shmid}; see `tidemark show`")
        content = Bitmap(0)
        layers: list[_Layer] = []
        for _, level in walk_levels(self.images, shmid):
            if level:
                content = level.content
                layers.append((level.pages_file, level.present, level.hashes))
        return content, layers[::-1]

    def _extents(self, content: Bitmap, layers: list[_Layer]) -> Iterator[Extent]:
        wanted = content.copy()
        for pages_file, present, _ in layers:
            here = wanted & present
            if here:
                yield from _extents_in(here, present, self._open(pages_file, len(present)))
            wanted -= present
            if not wanted:
                return

    def _open(self, path: Path, pages: int) -> int:
        descriptor = _open_many(path)
        self._descriptors.callback(os.close, descriptor)
        self.opened.append(descriptor)
        if os.fstat(descriptor).st_size != pages * PAGE_SIZE:
            raise ImageError(f"{path} changed while it was opened; try again")
        return descriptor


def _extents_in(here: Bitmap, present: Bitmap, descriptor: int) -> Iterator[Extent]:
    """Yield where the pages ``here`` stand in a file that holds ``present``, packed."""
    runs = present.runs()
    first = count = rank = 0
    for page, length in here.runs():
        while first + count <= page:
            rank += count
            first, count = next(runs)
        yield Extent(page, length, (rank + page - first) * PAGE_SIZE, descriptor)


def _open_many(path: Path) -> int:
    """Open a file, with a higher limit of open files where there are many."""
    try:
        return open_file(path)
    except ImageError as error:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        full = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EMFILE
        if not full or soft == hard:
            raise
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return open_file(path)
