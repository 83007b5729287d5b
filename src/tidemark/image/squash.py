"""Making an image that has parents into one that needs none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.directories import PRIVATE, opened
from tidemark.errors import ImageError
from tidemark.files import storage_errors
from tidemark.image.chain import Chain
from tidemark.image.check import check_image
from tidemark.image.framing import reading
from tidemark.image.manifest import Account
from tidemark.image.writer import RegionDump, write_image
from tidemark.native.bitmap import Bitmap
from tidemark.native.paths import exchange

if TYPE_CHECKING:
    from tidemark.image.manifest import RegionRecord
    from tidemark.image.spares import Spares

_SQUASHED = Account.of_full("squashed: it has what its parents held")


def squash(
    path: Path,
    staged: Path,
    spares: Spares | None = None,
    *,
    mode: int = PRIVATE,
    home: Path | None = None,
) -> None:
    """Put in the place of the image in ``path`` one with the same content and no parents.

    The new one is written whole, and then they exchange their names: at any moment there is an
    image, and a child finds its parent in either. Both are checked before.

    :param staged: where it is written, on the same file system; nothing is there
    :param mode: the permissions of its files
    :param home: the directory of the image as it is reached most surely, if not by ``path``
    :param spares: files to write content over, and to which those of the old image are added
    :raises ImageError: when the image or a parent is damaged; then nothing was done
    :raises LackingError: when the file system cannot exchange two names; likewise
    :raises StorageError: when the new one cannot be written; likewise
    """
    try:
        with reading(path), opened(home or path.parent) as directory:
            known = _identity(path)
            check_image(path)
            with Chain(path) as chain:
                _write(chain, staged, path, spares, mode)
            with storage_errors(path):
                _exchange(directory, path, known, staged)
        if spares:
            spares.collect(staged)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _exchange(directory: int, path: Path, known: tuple[int, int], staged: Path) -> None:
    """Have both names stand for the other, in the directory that was opened, and no other."""
    image = Path(f"/proc/self/fd/{directory}", path.name)
    if _identity(image) != known:
        raise ImageError(f"{path} was moved away while it was read; try again")
    exchange(image, staged)
    os.fsync(directory)


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


def _write(chain: Chain, staged: Path, path: Path, spares: Spares | None, mode: int) -> None:
    image = chain.images[0]
    if image.manifest is None:
        raise ValueError(f"{image.path} is not one of ours")
    write_image(
        staged,
        [_whole(chain, record) for record in image.manifest.regions],
        workload=image.manifest.workload,
        epoch=image.manifest.epoch,
        tracker=image.manifest.tracker,
        parent=None,
        stands_for=image.sha256,
        spares=spares,
        mode=mode,
        becomes=path,
        unsaved=image.manifest.unsaved,
    )


def _whole(chain: Chain, record: RegionRecord) -> RegionDump:
    region = chain.region(record.shmid)
    return RegionDump(
        number=record.shmid,
        kind=record.kind,
        pages=record.pages,
        present=region.present,
        in_parent=Bitmap(record.pages),
        source=region.source,
        account=_SQUASHED,
    )
