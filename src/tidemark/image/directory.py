"""One dump directory: of ours, with a manifest, or of CRIU's, without."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemark.bounded import read_regular
from tidemark.errors import ImageError
from tidemark.image.framing import REMEDY, reading
from tidemark.image.inventory import is_ours
from tidemark.image.manifest_reader import load_manifest
from tidemark.image.names import INVENTORY, MANIFEST, PARENT, shmids_of
from tidemark.native.library import PAGE_SIZE

if TYPE_CHECKING:
    from pathlib import Path

    from tidemark.image.manifest import Manifest

_PATH_BYTES = 4096


@dataclass(frozen=True)
class Image:
    """One dump directory.

    ``manifest`` and its ``sha256`` are None for CRIU's dumps; ``link`` is what `parent` says,
    None in a dump without a parent; ``shmids`` are its regions, ascending.
    """

    path: Path
    manifest: Manifest | None
    sha256: str | None
    link: str | None
    shmids: tuple[int, ...]

    def is_known_as(self, sha256: str) -> bool:
        """Return whether a child that recorded ``sha256`` as its parent means this image."""
        stands_for = self.manifest.stands_for if self.manifest else None
        return sha256 in {self.sha256, stands_for}


def find_image(path: Path) -> Path:
    """Return ``path`` itself, or its `image/` where it is an epoch's directory."""
    below = path / "image"
    with reading(path):
        itself = (path / INVENTORY).exists() or (path / MANIFEST).exists()
        return below if below.is_dir() and not itself else path


def open_image(path: Path) -> Image:
    """Return what stands in a dump directory, without its parents.

    :raises ImageError: when it is no dump, lost its manifest, or its manifest is damaged
    """
    with reading(path):
        names = [entry.name for entry in path.iterdir()]
    shmids = shmids_of(names)
    if MANIFEST in names:
        manifest, sha256 = load_manifest(path / MANIFEST)
        _verify_page_size(path, manifest)
        shmids = [region.shmid for region in manifest.regions]
        return Image(path, manifest, sha256, _link(path, manifest), tuple(shmids))
    if INVENTORY not in names and not shmids:
        raise ImageError(
            f"{path} is not a dump: it holds neither {INVENTORY} nor any pagemap-shmem-N.img; "
            f"give the directory that does"
        )
    _verify_foreign(path / INVENTORY, names)
    return Image(path, None, None, _link(path, None), tuple(shmids))


def _verify_page_size(path: Path, manifest: Manifest) -> None:
    if manifest.page_size != PAGE_SIZE:
        raise ImageError(
            f"{path} has pages of {manifest.page_size} bytes, and this machine of {PAGE_SIZE}; "
            f"read it on a machine like the one that made it"
        )


def _verify_foreign(inventory: Path, names: list[str]) -> None:
    """Refuse a dump of ours that lost its manifest: nothing would vouch for its content."""
    # CRIU itself needs no inventory in a parent: its page server writes none.
    if inventory.name in names and is_ours(inventory):
        raise ImageError(f"{inventory.parent / MANIFEST} is missing; {REMEDY}")


def _link(path: Path, manifest: Manifest | None) -> str | None:
    """Return where `parent` leads, as it is written; a link that became a file is understood."""
    link = path / PARENT
    text = None
    if os.path.lexists(link):
        with reading(link):
            text = _link_text(link)
    recorded = manifest.parent.path if manifest and manifest.parent else None
    if manifest and text != recorded:
        raise ImageError(
            f"{link} leads to {text or 'nothing'}, and {MANIFEST} has {recorded or 'no parent'}; "
            f"{REMEDY}"
        )
    return text


def _link_text(link: Path) -> str:
    mode = link.lstat().st_mode
    if stat.S_ISLNK(mode):
        return str(link.readlink())
    if stat.S_ISDIR(mode):
        return PARENT  # CRIU follows it
    if not stat.S_ISREG(mode):
        raise ImageError(f"{link} is neither a link nor a directory; {REMEDY}")
    # Git without symbolic links, and some archives, make a file of a link.
    return os.fsdecode(read_regular(link, _PATH_BYTES))
