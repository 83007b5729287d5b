"""An image that this process has just written: the next one is made on it without reading it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemark.image.chain import Chain
from tidemark.image.seen import Identity, identity_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tidemark.native.bitmap import Bitmap


class Latest(Chain):
    """The image in ``path``, and what it holds: ``content`` by region.

    It and its parents are read only when the content of a page is asked for.

    :param parents: the chain that it was made on
    """

    def __init__(
        self, path: Path, sha256: str, content: Mapping[int, Bitmap], parents: Chain | None
    ) -> None:
        super().__init__(path, later=True)
        self._sha256 = sha256
        self._content = content
        self._identities = {
            **(_identities_of(parents) if parents else {}),
            path: identity_of(path),
        }

    @property
    def sha256(self) -> str:
        """The hash of the image's manifest, by which a child names it."""
        return self._sha256

    def regions(self) -> tuple[int, ...]:
        """Return the numbers of its regions, ascending."""
        return tuple(sorted(self._content))

    def content(self, shmid: int) -> Bitmap:
        """Return the pages with content of a region."""
        return self._content[shmid]

    def identities(self) -> dict[Path, Identity | None]:
        """Return what the files of the image and its parents are known by."""
        return self._identities

    def stands(self) -> bool:
        """Return whether the image and its parents still are the ones that were written."""
        return all(identity_of(path) == known for path, known in self._identities.items())


def _identities_of(chain: Chain) -> dict[Path, Identity | None]:
    if isinstance(chain, Latest):
        return chain.identities()
    return {image.path: identity_of(image.path) for image in chain.images}
