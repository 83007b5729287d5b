"""Regions that come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cast import KINDS, MOST_REGIONS, SIZES, Region

if TYPE_CHECKING:
    from cast import Member
    from group import Group


def new_region(group: Group, member: Member, b: int, c: int) -> None:
    if len(group.regions) >= MOST_REGIONS or not group.may_map(member):
        return
    kind, pages = KINDS[b % len(KINDS)], SIZES[c % len(SIZES)]
    region = Region(kind, pages)
    actor = member.actor
    if kind == "anonymous":
        window = actor.anonymous(pages)
    elif kind == "sysv":
        region.segment = actor.segment(pages)
        window = actor.attach_segment(region.segment, pages)
    else:
        if kind == "posix":
            region.path = group.stage.shm_path()
        made = actor.file(region.path, pages) if region.path else actor.memfd(pages)
        member.files[region] = made
        window = actor.map(made, pages)
    group.regions.append(region)
    group.shows(member, region, window, whole=True)
    actor.ask("fill", window.address, min(64, max(1, pages // 2)), group.value() << 8)


def forget_region(group: Group, _member: Member, b: int, _c: int) -> None:
    """Have everybody unmap a region and close it: there is nothing left of it."""
    if len(group.regions) < 2:
        return
    region = group.regions[b % len(group.regions)]
    if any(all(shown.region is region for shown in m.memory.shown) for m in group.members):
        return
    for each in group.members:
        for shown in [s for s in each.memory.shown if s.region is region]:
            each.actor.unmap(shown.window)
            each.memory.shown.remove(shown)
        if region in each.files:
            each.actor.close(each.files.pop(region))
    group.regions.remove(region)
