"""Descriptors that stay open, of all kinds, and mappings that are hidden by them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cast import MOST_HELD, Held, needing
from system import PAGE

if TYPE_CHECKING:
    from cast import Member, Region
    from group import Group

_KINDS = (
    os.O_RDONLY,
    os.O_RDWR,
    os.O_RDWR | os.O_NOATIME,
    os.O_RDONLY | os.O_NOATIME,
    os.O_PATH,
    os.O_WRONLY,
)


def hold(group: Group, member: Member, b: int, c: int) -> None:
    """Open a region once more, in one of many ways, and leave it open."""
    held = group.file(member, b)
    if held is None or len(member.held) >= MOST_HELD:
        return
    region, descriptor = held
    flags = _KINDS[c % len(_KINDS)]
    if c % 7 == 6:
        made, flags = member.actor.call("dup", descriptor), os.O_RDWR
    else:
        made = member.actor.open(f"/proc/self/fd/{descriptor}", flags)
    member.held.append(Held(region, made, bool(flags & os.O_RDWR)))


def hold_by_other_mount(group: Group, member: Member, _b: int, c: int) -> None:
    """Open a file by a mount of its file system that keeps no access times."""
    region = group.named(c)
    if region is not None and len(member.held) < MOST_HELD:
        with needing("a mount of one's own (open_tree)"):
            made = member.actor.ask("other_mount", region.path, os.O_RDWR)
        member.held.append(Held(region, made, writes=True))


def store_by_held(group: Group, member: Member, b: int, c: int) -> None:
    """Store by a brief mapping made of a descriptor that stays open, opened anew if need be."""
    if not member.held:
        return
    held, actor = member.held[b % len(member.held)], member.actor
    descriptor = held.descriptor
    if not held.writes:
        descriptor = actor.open(f"/proc/self/fd/{held.descriptor}")
    try:
        _store_briefly(group, member, held.region, descriptor, c)
    finally:
        if not held.writes:
            actor.close(descriptor)


def let_go(_group: Group, member: Member, b: int, _c: int) -> None:
    """Close one of them."""
    if member.held:
        held = member.held.pop(b % len(member.held))
        member.actor.close(held.descriptor)


def close_all_descriptors(group: Group, _member: Member, b: int, _c: int) -> None:
    """Have everybody close a region that is mapped: nothing but its mappings is left."""
    regions = [region for member in group.members for region in member.files]
    if not regions:
        return
    region = regions[b % len(regions)]
    for member in group.members:
        if region in member.files:
            member.actor.close(member.files.pop(region))
        for held in [held for held in member.held if held.region is region]:
            member.held.remove(held)
            member.actor.close(held.descriptor)


def store_and_set_back(group: Group, member: Member, b: int, c: int) -> None:
    """Store by a brief mapping, and set the access time to what it was."""
    if (held := group.file(member, b)) and held[0].pages:
        offset = c % held[0].pages * PAGE
        member.actor.ask("store_and_set_back", held[1], offset, group.value())


def store_by_link(group: Group, member: Member, b: int, c: int) -> None:
    """Open an object by the link of a mapping of it, and store by a brief mapping, or write."""
    shown = group.view(member, b)
    if shown is None:
        return
    start, end = shown.window.address, shown.window.address + shown.window.bytes
    with needing("links of mappings (map_files)"):
        descriptor = member.actor.open(f"/proc/self/map_files/{start:x}-{end:x}")
    try:
        if c % 2:
            member.actor.pwrite(descriptor, c % shown.region.pages)
        else:
            _store_briefly(group, member, shown.region, descriptor, c)
    finally:
        member.actor.close(descriptor)


def _store_briefly(group: Group, member: Member, region: Region, descriptor: int, c: int) -> None:
    if region.pages:
        brief = member.actor.map(descriptor, 1, c % region.pages)
        member.actor.ask("fill", brief.address, 1, group.value())
        member.actor.unmap(brief)
