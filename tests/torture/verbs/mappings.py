"""Mappings that come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors import READ_WRITE, Window

if TYPE_CHECKING:
    from cast import Member
    from group import Group


def map_again(group: Group, member: Member, b: int, _c: int) -> None:
    if group.may_map(member) and (held := group.file(member, b)):
        region, descriptor = held
        group.shows(member, region, member.actor.map(descriptor, max(1, region.pages)))


def map_part(group: Group, member: Member, b: int, c: int) -> None:
    if group.may_map(member) and (held := group.file(member, b)):
        region, descriptor = held
        first = c % max(1, region.pages)
        count = 1 + (b // 7) % max(1, region.pages - first)
        group.shows(member, region, member.actor.map(descriptor, count, first))


def store_in_brief_mapping(group: Group, member: Member, b: int, c: int) -> None:
    if held := group.file(member, b):
        region, descriptor = held
        if region.pages:
            page = c % region.pages
            brief = member.actor.map(descriptor, 1, page)
            member.actor.ask("fill", brief.address, 1, group.value())
            member.actor.unmap(brief)


def unmap(group: Group, member: Member, b: int, _c: int) -> None:
    shown = group.view(member, b)
    if shown and len(member.memory.shown) > 1:
        member.actor.unmap(shown.window)
        member.memory.shown.remove(shown)


def unmap_part(group: Group, member: Member, b: int, c: int) -> None:
    if (shown := group.view(member, b)) and len(member.memory.shown) > 1:
        part = shown.part(c, b)
        member.actor.unmap(part)
        group.lose(member, shown, part)


def store_and_unmap(group: Group, member: Member, b: int, c: int) -> None:
    if (shown := group.view(member, b)) and len(member.memory.shown) > 1:
        group.put(member.actor, shown, c)
        unmap_part(group, member, b, c)


def map_over(group: Group, member: Member, b: int, c: int) -> None:
    """Store, and map something else in its place."""
    shown, held = group.view(member, b), group.file(member, c)
    if shown is None or held is None or not held[0].pages:
        return
    group.put(member.actor, shown, c)
    part = shown.part(c, b)
    region, descriptor = held
    first = c % region.pages
    window = member.actor.map(descriptor, part.count, first, address=part.address)
    group.lose(member, shown, part)
    group.shows(member, region, window)


def protect_and_back(group: Group, member: Member, b: int, c: int) -> None:
    if shown := group.view(member, b):
        group.put(member.actor, shown, c)
        member.actor.protect(shown.window, c % 2)
        member.actor.protect(shown.window, READ_WRITE)
        group.put(member.actor, shown, b)


def detach_and_attach(group: Group, member: Member, b: int, c: int) -> None:
    segments = [s for s in member.memory.shown if s.region.kind == "sysv" and s.whole]
    if not segments:
        return
    shown = segments[b % len(segments)]
    again = member.actor.call("shmat", shown.region.segment, 0, 0)
    group.put(member.actor, shown, c)
    member.actor.call("shmdt", shown.window.address)
    shown.window = Window(again, 0, shown.region.pages)
