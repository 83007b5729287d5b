"""Which pages of a region hold data, for who cannot open the object itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.native.bitmap import Bitmap
from tidemark.native.library import ProcessGoneError
from tidemark.native.tracee import resident

if TYPE_CHECKING:
    from tidemark.keeper.objects import Mapping
    from tidemark.keeper.region import Region
    from tidemark.keeper.tree import Process, Tree
    from tidemark.keeper.views import View


def resident_data(
    tree: Tree, region: Region, views: dict[int, list[tuple[Mapping, View]]]
) -> Bitmap:
    """Return the pages of ``region`` that are in memory, asked through those who map it.

    A page in swap does not show this way. Where there is swap, pages that held data before or
    were written count as data, though they may be holes by now.
    """
    data = Bitmap(region.pages)
    for process in tree.in_order():
        for _, view in views[process.pid]:
            if view.region is region and _shows_more(view, data):
                _ask(tree, process, view, data)
    if _swap_in_use():
        data |= region.data
        data |= region.stored
    return data


def _ask(tree: Tree, process: Process, view: View, data: Bitmap) -> None:
    thread = process.stopped_thread()
    if thread is None:
        return
    try:
        resident(thread.tid, (view.start, view.end, view.page), data)
    except ProcessGoneError:
        tree.thread_left(thread)


def _shows_more(view: View, seen: Bitmap) -> bool:
    """Return whether the view shows a page that is not known to hold data yet."""
    wanted = Bitmap(seen.pages, [(view.page, min(view.count, seen.pages - view.page))])
    wanted -= seen
    return bool(wanted)


def _swap_in_use() -> bool:
    """Return whether the machine has a swap device; its list has a heading."""
    try:
        return len(Path("/proc/swaps").read_text().splitlines()) > 1
    except OSError:
        return True
