"""A hash for each of some pages, and comparing two such sets."""

from __future__ import annotations

import base64
import bisect
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Self

from tidemark.native.bitmap import Bitmap
from tidemark.native.pages import HASH_BYTES, Source, differing_hashes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tidemark.native.bitmap import Run


@dataclass(frozen=True)
class PageHashes:
    """XXH3-128 of each page of ``pages``, packed in order. A page that is not there is zero."""

    pages: Bitmap
    packed: bytes

    @classmethod
    def of(cls, source: Source, candidates: Bitmap) -> Self:
        """Hash the pages of ``source`` among ``candidates`` that are not all zero."""
        pages = candidates - source.zero(candidates)
        return cls(pages, source.hash(pages))

    @classmethod
    def empty(cls, pages: int) -> Self:
        """Return the hashes of a region of zeroes."""
        return cls(Bitmap(pages), b"")

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Return what :meth:`to_json` gave, with ``pages`` for the length of the region.

        :raises ValueError: when there is not one hash for each page
        """
        pages = Bitmap(value["pages"], value["runs"])
        packed = base64.b64decode(value["hashes"], validate=True)
        if len(pages) * HASH_BYTES != len(packed):
            raise ValueError(f"{len(packed)} bytes of hashes for {len(pages)} pages")
        return cls(pages, packed)

    def to_json(self) -> dict[str, Any]:
        """Return the length of the region, the runs of pages and their packed hashes."""
        return {
            "pages": self.pages.pages,
            "runs": [list(run) for run in self.pages.runs()],
            "hashes": base64.b64encode(self.packed).decode(),
        }

    def within(self, runs: Iterable[Run]) -> PageHashes:
        """Return the hashes of those pages that are in ``runs``, which do not overlap."""
        part = Bitmap(self.pages.pages)
        for first, count in runs:
            if first < part.pages:
                part.set(first, min(count, part.pages - first))
        part &= self.pages
        ours = list(self.pages.runs())
        starts = [first for first, _ in ours]
        ranks = [0, *accumulate(count for _, count in ours)]
        packed = bytearray()
        for first, count in part.runs():
            index = bisect.bisect_right(starts, first) - 1
            rank = ranks[index] + first - starts[index]
            packed += self.packed[rank * HASH_BYTES : (rank + count) * HASH_BYTES]
        return PageHashes(part, bytes(packed))

    def differing(self, other: PageHashes) -> Bitmap:
        """Return the pages whose content is not the same in both."""
        return differing_hashes(self.pages, self.packed, other.pages, other.packed)
