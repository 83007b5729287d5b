"""Restoring an image as a tree: holder processes that share its regions as they were shared.

Of the processes that mapped a region, the lowest-numbered one creates it; the others open it
there. Every mapping is at its address, offset and protection.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from tidemark.errors import ImageError
from tidemark.image.chain import Chain
from tidemark.image.check import check_image
from tidemark.image.framing import REMEDY
from tidemark.native.library import PAGE_SIZE
from tidemark.native.pages import data_pages
from tidemark.restore.files import restore_region
from tidemark.restore.holder import Holder, HolderError
from tidemark.restore.layout import READ
from tidemark.restore.sharing import pairs

if TYPE_CHECKING:
    from pathlib import Path

    from tidemark.native.bitmap import Bitmap
    from tidemark.restore.layout import LaidMapping, Layout

_MARK = 0x7469_6465_6D61_726B


class RestoredTree:
    """The holders of one image; a context manager, which they do not outlive.

    :raises ImageError: when the image or a parent of it is damaged, or lacks a region of the
        layout; then no holder was started
    :raises HolderError: when a mapping cannot be where it was
    """

    def __init__(self, image: Path, layout: Layout) -> None:
        check_image(image)
        self.layout = layout
        self._objects: dict[int, int] = {}  # descriptors of ours, by region
        self._holders: dict[int, Holder] = {}
        self._stack = ExitStack()
        try:
            with Chain(image) as chain:
                _verify_regions(chain, layout, image)
                self._build(chain)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self, chain: Chain) -> None:
        for number in self.layout.processes:
            self._holders[number] = self._stack.enter_context(Holder(number))
        for region in sorted(self.layout.pages):
            self._share(chain, region)

    def _share(self, chain: Chain, region: int) -> None:
        """Create a region in its first process, fill it, and map it in all."""
        mappings = self.layout.of_region(region)
        if not mappings:
            return
        creator = self._holders[mappings[0].process]
        file = creator.create(self.layout.pages[region] * PAGE_SIZE)
        self._objects[region] = creator.give(file)
        self._stack.callback(os.close, self._objects[region])
        restore_region(chain, region, self._objects[region])
        files = {creator.number: file}
        for mapping in mappings:
            holder = self._holders[mapping.process]
            if holder.number not in files:
                files[holder.number] = holder.open(creator, file)
            _map(holder, files[holder.number], mapping)

    def holders(self) -> list[int]:
        """Return the numbers of the processes, ascending."""
        return sorted(self._holders)

    def pids(self) -> dict[int, int]:
        """Return the process id of each holder, by the number of its process."""
        return {number: holder.pid for number, holder in sorted(self._holders.items())}

    def contents(self, region: int) -> Bitmap:
        """Return the pages of a region that hold data now."""
        return data_pages(self._objects[region], self.layout.pages[region])

    def read_back(self, process: int, region: int, out: int) -> None:
        """Have one process write what it reads of a region to ``out``, each page at its place.

        What is a hole in the region stays one. A mapping that may not be read is passed over.
        """
        os.ftruncate(out, self.layout.pages[region] * PAGE_SIZE)
        held = list(self.contents(region).runs())
        for mapping in self.layout.of_region(region):
            if mapping.process != process or not mapping.protection & READ:
                continue
            for first, count in held:
                low, high = (
                    max(first, mapping.page),
                    min(first + count, mapping.page + mapping.count),
                )
                if low < high:
                    self._holders[process].save(
                        mapping.address_of(low), (high - low) * PAGE_SIZE, out, low * PAGE_SIZE
                    )

    def check_sharing(self) -> tuple[int, int]:
        """Return how many of how many mappings saw a store that another process made.

        Each store is undone.
        """
        seen = of = 0
        for region in self._objects:
            pages = self.layout.pages[region]
            for writer, reader, page in pairs(self.layout.of_region(region), pages):
                of += 1
                seen += self._is_seen(writer, reader, page)
        return seen, of

    def _is_seen(self, writer: LaidMapping, reader: LaidMapping, page: int) -> bool:
        address = writer.address_of(page)
        storing, loading = self._holders[writer.process], self._holders[reader.process]
        before = storing.load(address)
        storing.store(address, before ^ _MARK)
        seen = loading.load(reader.address_of(page)) == before ^ _MARK
        storing.store(address, before)
        return seen


def _map(holder: Holder, file: int, mapping: LaidMapping) -> None:
    try:
        holder.map(
            file,
            mapping.page * PAGE_SIZE,
            mapping.start,
            mapping.count * PAGE_SIZE,
            mapping.protection,
        )
    except HolderError as error:
        raise HolderError(
            f"{error} (region {mapping.region} at {mapping.start:#x}); restore it as files"
        ) from error


def _verify_regions(chain: Chain, layout: Layout, image: Path) -> None:
    known = set(chain.regions())
    for number, pages in layout.pages.items():
        if number not in known:
            raise ImageError(f"{image} has no region {number}, which the layout names")
        if chain.region(number).pages != pages:
            raise ImageError(
                f"region {number} in {image} has {chain.region(number).pages} pages, and {pages} "
                f"in the layout; {REMEDY}"
            )
