"""Restoring regions as files, or into memory files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tidemark.files import storage_errors
from tidemark.image.chain import Chain
from tidemark.image.check import check_image
from tidemark.native.library import PAGE_SIZE

if TYPE_CHECKING:
    from pathlib import Path


def restore_region(chain: Chain, number: int, target: int) -> None:
    """Write a region's content into the empty file ``target``; zero pages become holes."""
    region, zero = chain.region(number), chain.zero(number)
    if zero is None:
        region.source.place(region.present, target)
    else:
        region.source.transfer(region.present - zero, target)


def restore_files(image: Path, directory: Path) -> list[Path]:
    """Write each region of an image to ``directory`` as a sparse file ``region-N.mem``.

    :raises ImageError: when the image or a parent of it is damaged; then nothing is written
    :raises StorageError: when the directory cannot be written
    """
    check_image(image)
    written = []
    with Chain(image) as chain, storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        for number in chain.regions():
            path = directory / f"region-{number}.mem"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(descriptor, chain.region(number).pages * PAGE_SIZE)
                restore_region(chain, number, descriptor)
            finally:
                os.close(descriptor)
            written.append(path)
    return written
