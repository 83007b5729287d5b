"""Making an image that has parents into one that needs none."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tidemark.files import storage_errors, sync_directory
from tidemark.image.chain import Chain
from tidemark.image.check import check_image
from tidemark.image.manifest import Account
from tidemark.image.writer import RegionDump, write_image
from tidemark.native.bitmap import Bitmap
from tidemark.native.paths import exchange

if TYPE_CHECKING:
    from pathlib import Path

    from tidemark.image.manifest import RegionRecord
    from tidemark.image.spares import Spares

_SQUASHED = Account.of_full("squashed: it has what its parents held")


def squash(path: Path, spares: Spares | None = None) -> None:
    """Put in the place of the image in ``path`` one with the same content and no parents.

    The new one is written whole beside it, and then they exchange their names: at any moment
    there is an image, and a child finds its parent in either. Both are checked before.

    :param spares: files to write content over, and to which those of the old image are added
    :raises ImageError: when the image or a parent is damaged; then nothing was done
    :raises LackingError: when the file system cannot exchange two names; likewise
    :raises StorageError: when the new one cannot be written; likewise
    """
    check_image(path)
    staged = path.with_name(f".{path.name}.squashed")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        with Chain(path) as chain:
            _write(chain, staged, spares)
        with storage_errors(path):
            exchange(path, staged)
            sync_directory(path.parent)
        if spares:
            spares.collect(staged)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _write(chain: Chain, target: Path, spares: Spares | None) -> None:
    image = chain.images[0]
    if image.manifest is None:
        raise ValueError(f"{image.path} is not one of ours")
    write_image(
        target,
        [_whole(chain, record) for record in image.manifest.regions],
        workload=image.manifest.workload,
        epoch=image.manifest.epoch,
        tracker=image.manifest.tracker,
        parent=None,
        stands_for=image.sha256,
        spares=spares,
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
