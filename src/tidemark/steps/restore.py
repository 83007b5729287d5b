"""restore: an epoch's image as a tree of processes again, and what each of them then reads."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from tidemark.directories import PUBLIC_DIRECTORY, make_directory
from tidemark.files import read_json, storage_errors, write_json
from tidemark.restore.layout import read_layout
from tidemark.restore.tree import RestoredTree

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "index.json"


def restore(image: Path, layout: Path, target: Path) -> None:
    """Restore ``image``, and write what each process reads of each region into ``target``.

    The tree lives within this call. ``target`` gets a sparse file for each process and region,
    and an index of them.

    :raises ImageError: when the image is damaged; then no process was started
    :raises StorageError: when ``target`` cannot be written
    """
    with RestoredTree(image, read_layout(layout, own=True)) as tree, storage_errors(target):
        staging = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        make_directory(target.parent, PUBLIC_DIRECTORY)
        staging.mkdir(mode=0o700)
        try:
            files = [
                _read_back(tree, process, region, staging)
                for process in tree.holders()
                for region in sorted(tree.layout.pages)
                if any(m.region == region for m in tree.layout.of_process(process))
            ]
            seen, of = tree.check_sharing()
            write_json(
                staging / INDEX,
                {
                    "files": files,
                    "holders": len(tree.holders()),
                    "sharing": {"seen": seen, "of": of},
                },
            )
            staging.rename(target)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise


def _read_back(tree: RestoredTree, process: int, region: int, directory: Path) -> dict[str, Any]:
    """Save what a process reads of a region; return the file's entry in the index."""
    name = f"process-{process}-region-{region}.mem"
    out = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        tree.read_back(process, region, out)
    finally:
        os.close(out)
    runs = sorted(
        (mapping.page, mapping.count)
        for mapping in tree.layout.of_process(process)
        if mapping.region == region and mapping.protection & 1
    )
    return {
        "file": name,
        "process": process,
        "region": region,
        "pages": tree.layout.pages[region],
        "shown": [list(run) for run in runs],
    }


def read_index(directory: Path) -> dict[str, Any]:
    """Return the index of a restored tree's files."""
    return read_json(directory / INDEX)
