"""The last checkpoint that was saved, mapped: so pages can be compared with it where they are."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.errors import TidemarkError
from tidemark.image.chain import Chain
from tidemark.native.window import Window, touch_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tidemark.native.bitmap import Bitmap
    from tidemark.native.pages import Source

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ParentRegion:
    """A region as it was saved: the pages that have content, and where that is.

    ``files``: by descriptor, what shows the files that the source reads.
    """

    content: Bitmap
    source: Source
    files: Mapping[int, Window]


class Parent:
    """Opens the chain of images anew for each checkpoint: older ones may have been merged since.

    Files that are the same ones again stay mapped from one checkpoint to the next.
    """

    def __init__(self) -> None:
        self._chain: Chain | None = None
        self._windows: dict[tuple[int, int], Window] = {}  # by device and inode
        self._known: dict[str, str] | None = None

    def begin(self, known: Mapping[str, str] | None) -> None:
        """Turn to the image that the keeper knows as saved, by ``path`` and ``sha256``, or to none.

        It is opened when it is asked for.
        """
        self.end()
        self._known = dict(known) if known else None

    def end(self) -> None:
        """Let go of the files, but for what shows them."""
        if self._chain is not None:
            self._chain.close()
            self._chain = None
        self._known = None

    def close(self) -> None:
        """Let go of all."""
        self.end()
        self._forget(set())

    def region(self, number: int) -> ParentRegion | None:
        """Return a region as it was saved; None where there is none, or it cannot be read."""
        if self._known is None:
            return None
        try:
            return self._region(self._known, number)
        except (TidemarkError, OSError, ValueError) as error:
            log.warning("suspect pages are copied, since the parent cannot be read: %s", error)
            self.end()
            return None

    def _region(self, known: Mapping[str, str], number: int) -> ParentRegion | None:
        if self._chain is None:
            self._chain = Chain(Path(known["path"]))
            if not self._chain.images[0].is_known_as(known["sha256"]):
                raise ValueError(f"{self._chain.path} is not what was saved there")
        if number not in self._chain.regions():
            return None
        region = self._chain.region(number)
        files = {descriptor: self._window(descriptor) for descriptor in self._chain.opened}
        return ParentRegion(region.present, region.source, files)

    def touch(self, region: ParentRegion) -> None:
        """Have the content of a region in memory, before it is needed in a hurry."""
        touch_files(region.source, region.files)

    def forget_others(self) -> None:
        """Map no more what the chain has not opened: such files may have been removed."""
        opened = self._chain.opened if self._chain is not None else []
        self._forget({_identity(descriptor) for descriptor in opened})

    def _forget(self, kept: set[tuple[int, int]]) -> None:
        for identity in self._windows.keys() - kept:
            self._windows.pop(identity).close()

    def _window(self, descriptor: int) -> Window:
        identity = _identity(descriptor)
        window = self._windows.get(identity)
        if window is None or window.bytes != os.fstat(descriptor).st_size:
            if window is not None:
                window.close()
            window = self._windows[identity] = Window(descriptor)
        return window


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
