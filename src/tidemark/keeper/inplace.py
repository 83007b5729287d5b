"""What is found out by comparing pages where they are, while the workload stands.

- A copy that was made while it ran is good where the page is still the same.
- A page that the tracker cannot vouch for is as the parent has it where it is the same there: then
  it is not copied at all.

All processors share in it, and nothing is copied: a region of which each page is suspect costs the
time in which memory is read, and only what differs costs more.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tidemark.keeper.parent import Parent
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import NativeError, ShortReadError
from tidemark.native.pages import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tidemark.keeper.copies import Copies
    from tidemark.keeper.early import Early
    from tidemark.keeper.parent import ParentRegion
    from tidemark.keeper.region import Region
    from tidemark.keeper.snapshot import Found
    from tidemark.native.window import Window


@dataclass(frozen=True)
class Compared:
    """Pages of a region: those with a good copy, and those that are as the parent has them.

    ``zero``: the latter that the parent does not have, as they are all zero.
    """

    copied: Bitmap
    same: Bitmap
    zero: Bitmap


class InPlace:
    """Compares the regions of one checkpoint.

    :param aside: does what takes its time while the workload runs
    """

    def __init__(
        self, copies: Copies, early: Early, aside: Callable[[Callable[[], None]], None]
    ) -> None:
        self._aside = aside
        self._copies = copies
        self._early = early
        self._parent = Parent()

    def prepare(self, known: Mapping[str, str] | None, doubtful: Iterable[Region]) -> None:
        """Have the parent at hand for regions of which pages are going to be suspect.

        :param known: the image that was saved last, None for a checkpoint that needs no parent
        """
        self._parent.begin(known)
        for region in doubtful:
            saved = self._parent.region(region.number)
            window = region.window()
            if saved is None or window is None:
                continue
            self._aside(partial(self._touch, saved, window, region.data.copy()))
        self._parent.forget_others()

    def _touch(self, saved: ParentRegion, window: Window, pages: Bitmap) -> None:
        self._parent.touch(saved)
        with suppress(ShortReadError):  # it was cut: what is left is read when it is compared
            window.touch(pages)

    def compare(self, found: Found, memory: Source, *, full: bool) -> Compared:
        """Return what is found out of a region; the workload stands.

        :param memory: another way to read the region, where no window shows it
        :param full: whether a page is wanted whatever the parent has
        """
        region = found.region
        copied = self._early.copied(region) - found.recent
        copied -= self._differing_from_copies(region, copied & self._uncertain(found))
        nothing = Bitmap(region.pages)
        if full or not found.known:
            return Compared(copied, nothing, nothing)
        doubtful = found.moved - found.sure - copied
        saved = self._parent.region(region.number) if doubtful else None
        if saved is None:
            return Compared(copied, nothing, nothing)
        same = doubtful - _differing_from_parent(region, doubtful, saved, memory)
        return Compared(copied, same, same - saved.content)

    def _uncertain(self, found: Found) -> Bitmap:
        """Return the pages that may be other than their copy, though nobody told so."""
        uncertain = self._early.unsettled(found.region).copy()
        for suspects in found.suspicions.values():
            uncertain |= suspects
        return uncertain

    def _differing_from_copies(self, region: Region, copied: Bitmap) -> Bitmap:
        if not copied:
            return copied
        window = region.window()
        if window is None:
            return copied
        with self._copies.shown() as copies:
            source = Source.layered(self._early.layers[region.number], 0)
            return window.differing(source, {0: copies}, copied)

    def end(self) -> None:
        """Let go of the parent's files."""
        self._parent.end()

    def close(self) -> None:
        """Let go of all."""
        self._parent.close()


def _differing_from_parent(
    region: Region, pages: Bitmap, saved: ParentRegion, memory: Source
) -> Bitmap:
    window = region.window()
    if window is not None:
        return window.differing(saved.source, saved.files, pages)
    try:
        return memory.differing(saved.source, pages)
    except NativeError:
        return pages  # what cannot be read now is tried again where it is copied
