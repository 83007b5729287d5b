"""Which pages of a region hold data, for who cannot open the object itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.errors import UnsupportedError
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import LackingError, ProcessGoneError
from tidemark.native.tracee import resident

if TYPE_CHECKING:
    from tidemark.keeper.objects import Mapping
    from tidemark.keeper.region import Region
    from tidemark.keeper.tree import Process, Tree
    from tidemark.keeper.views import View
    from tidemark.native.space import View as RawView


def resident_data(
    tree: Tree, region: Region, views: dict[int, list[tuple[Mapping, View]]]
) -> Bitmap:
    """Return the pages of ``region`` that are in memory, asked through those who map it.

    A page in swap does not show this way. Where there is swap, pages that held data before or
    were written count as data, though they may be holes by now.

    :raises UnsupportedError: when nobody can be asked who maps some of them
    """
    data, asked = Bitmap(region.pages), Bitmap(region.pages)
    refusals: list[tuple[View, LackingError]] = []
    for process in tree.in_order():
        for _, view in views[process.pid]:
            if view.region is region and _unseen(view, asked):
                try:
                    asked |= _ask(tree, process, view, data)
                except LackingError as error:
                    refusals.append((view, error))
    _check(refusals, asked)
    if _swap_in_use():
        data |= region.data
        data |= region.stored
    return data


def _ask(tree: Tree, process: Process, view: View, data: Bitmap) -> Bitmap:
    """Add what a view shows to ``data``; return the pages of which it was asked."""
    asked = ask_standing(tree, process.pid, (view.start, view.end, view.page), data)
    return view.shown(data.pages) if asked else Bitmap(data.pages)


def ask_standing(tree: Tree, pid: int, view: RawView, data: Bitmap) -> bool:
    """Add the resident pages of a view to ``data``; False when no thread of it could be asked.

    :raises LackingError: when none of its threads can make system calls of ours
    """
    refusal: LackingError | None = None
    for thread in tree.stopped_threads([pid]):
        try:
            resident(thread.stopped(), view, data)
        except ProcessGoneError:
            tree.thread_left(thread)
            return False
        except LackingError as error:
            refusal = refusal or error
        else:
            return True
    if refusal is not None:
        raise refusal
    return False


def _unseen(view: View, asked: Bitmap) -> bool:
    """Return whether the view shows a page of which nobody was asked yet."""
    return bool(view.shown(asked.pages) - asked)


def _check(refusals: list[tuple[View, LackingError]], asked: Bitmap) -> None:
    """Fail when a process refused to tell of pages of which no other could be asked.

    :raises UnsupportedError: then
    """
    for view, refusal in refusals:
        if _unseen(view, asked):
            raise UnsupportedError(
                f"cannot tell which pages of {view.region.name} are in use: {refusal}; run as root"
            ) from refusal


def _swap_in_use() -> bool:
    """Return whether the machine has a swap device; its list has a heading."""
    try:
        return len(Path("/proc/swaps").read_text().splitlines()) > 1
    except OSError:
        return True
