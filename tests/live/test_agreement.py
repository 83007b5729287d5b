"""Two trackers see the same epochs: a page that one vouches for as clean was not seen by the other.

A process's memory cannot be under both at once, as both want its userfaultfd. So one keeper has
the workload, with uffd-wp, and soft-dirty bits are reset and read beside it, from outside.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from system import PAGE

from tidemark.native.probe import probe_tracker

if TYPE_CHECKING:
    from actors import Actor, Window
    from stage import Stage

PAGES = 64
_SOFT_DIRTY, _PRESENT = 1 << 55, 1 << 63


def reset_bits(actor: Actor) -> None:
    Path(f"/proc/{actor.pid}/clear_refs").write_text("4")


def read_bits(actor: Actor, window: Window) -> tuple[set[int], set[int]]:
    """Return the pages that are soft-dirty, and those of which nothing can be said."""
    with Path(f"/proc/{actor.pid}/pagemap").open("rb") as pagemap:
        pagemap.seek(window.address // PAGE * 8)
        entries = struct.unpack(f"<{window.count}Q", pagemap.read(8 * window.count))
    dirty = {page for page, entry in enumerate(entries) if entry & _SOFT_DIRTY}
    unsure = {page for page, entry in enumerate(entries) if not entry & (_PRESENT | _SOFT_DIRTY)}
    return dirty, unsure


@pytest.mark.parametrize("how", ["stores", "drops", "children"])
def test_both_trackers_agree_on_the_same_epochs(stage: Stage, how: str) -> None:
    if lacking := probe_tracker("soft-dirty"):
        pytest.skip(f"no soft-dirty: {lacking}")
    leader = stage.start()
    window = leader.anonymous(PAGES)
    leader.fill(window)
    crew = [leader, leader.fork()]
    stage.baseline()
    for number in range(3):
        with stage.epoch() as epoch:
            for actor in crew:
                actor.touch(window)  # so that there are entries for the bits to stand in
                reset_bits(actor)
            disturb(how, crew, window, number)
        seen = [read_bits(actor, window) for actor in crew]
        dirty = set().union(*(found for found, _ in seen))
        unsure = set().union(*(found for _, found in seen))
        ours = epoch.exact
        assert dirty <= ours, "soft-dirty saw a store that write-protection did not"
        assert ours - dirty <= unsure, "write-protection saw what soft-dirty calls clean"
        assert ours, "something was written"


def disturb(how: str, crew: list[Actor], window: Window, number: int) -> None:
    for place, actor in enumerate(crew):
        actor.store(window, 10 * place + number, 40 + number)
    if how == "drops":
        crew[0].call("madvise", window.at(number), 2 * PAGE, 4)
    if how == "children":
        crew.append(crew[1].fork())
        crew[-1].store(window, 50 + number)
