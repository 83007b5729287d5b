"""Mappings that are moved, and that get longer and shorter."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from actors import Window
from system import PAGE

if TYPE_CHECKING:
    from cast import Member, Shown
    from group import Group

_MAYMOVE, _FIXED, _DONTUNMAP = 1, 2, 4


def move(group: Group, member: Member, b: int, c: int) -> None:
    if shown := group.view(member, b):
        group.put(member.actor, shown, c)
        move_window(group, member, shown, shown.window)


def move_part(group: Group, member: Member, b: int, c: int) -> None:
    if shown := group.view(member, b):
        move_window(group, member, shown, shown.part(c, b))


def move_window(group: Group, member: Member, shown: Shown, part: Window) -> None:
    there = group.free_address(member, part.count)
    flags = _MAYMOVE | _FIXED
    address = member.actor.call("mremap", part.address, part.bytes, part.bytes, flags, there)
    group.lose(member, shown, part)
    group.shows(member, shown.region, Window(address, part.page, part.count))


def leave_behind(group: Group, member: Member, b: int, c: int) -> None:
    """Move a mapping, and keep it where it was, too: MREMAP_DONTUNMAP."""
    shown = group.view(member, b)
    if shown and group.may_map(member):
        group.put(member.actor, shown, c)
        window, flags = shown.window, _MAYMOVE | _DONTUNMAP
        address = member.actor.call("mremap", window.address, window.bytes, window.bytes, flags, 0)
        group.shows(member, shown.region, Window(address, window.page, window.count))


def grow_mapping(group: Group, member: Member, b: int, c: int) -> None:
    if shown := group.view(member, b):
        group.put(member.actor, shown, c)
        grown = member.actor.remap(shown.window, shown.window.count + 1 + c % 9, _MAYMOVE)
        shown.window, shown.whole = grown, False
        group.put(member.actor, shown, b)


def shrink_mapping(group: Group, member: Member, b: int, c: int) -> None:
    shown = group.view(member, b)
    if shown and shown.window.count > 1:
        group.put(member.actor, shown, c)
        count = 1 + c % (shown.window.count - 1)
        shown.window, shown.whole = member.actor.remap(shown.window, count, _MAYMOVE), False


def map_with_room(group: Group, member: Member, b: int, c: int) -> None:
    """Map the beginning of a region where the rest of it would find room, too."""
    if group.may_map(member) and (held := group.file(member, b)):
        region, descriptor = held
        address = group.free_address(member, region.pages)
        member.actor.call("munmap", address, region.pages * PAGE)
        count = 1 + c % max(1, region.pages - 1)
        group.shows(member, region, member.actor.map(descriptor, count, address=address))


def stretch(group: Group, member: Member, _b: int, c: int) -> None:
    """Make a mapping longer where it stands, store behind its end, and shorten it again."""
    for shown in member.memory.shown:
        window = shown.window
        room = shown.region.pages - window.page - window.count
        if room <= 0:
            continue
        with contextlib.suppress(OSError):  # something else stands there
            longer = member.actor.remap(window, window.count + room, 0)
            page = window.page + window.count + c % room
            member.actor.ask("fill", longer.at(page), 1, group.value())
            member.actor.remap(longer, window.count, 0)


def double(group: Group, member: Member, b: int, c: int) -> None:
    """Map the same a second time, with an old length of nothing."""
    shown = group.view(member, b)
    if shown and group.may_map(member):
        second = member.actor.remap(shown.window, shown.window.count, _MAYMOVE, old=0)
        group.shows(member, shown.region, second)
        group.put(member.actor, member.memory.shown[-1], c)
        if c % 2:
            member.actor.unmap(second)
            member.memory.shown.pop()
