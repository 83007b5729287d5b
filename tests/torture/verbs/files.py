"""What is done through descriptors and names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cast import Member
    from group import Group


def truncate(group: Group, member: Member, b: int, c: int) -> None:
    """Shorten an object, and lengthen it again, perhaps beyond what it was."""
    if held := group.file(member, b):
        region, descriptor = held
        if region.pages > 1:
            member.actor.truncate(descriptor, c % region.pages)
            member.actor.truncate(descriptor, region.pages + c % 3)
            region.pages += c % 3


def pwrite(group: Group, member: Member, b: int, c: int) -> None:
    if (held := group.file(member, b)) and held[0].pages:
        member.actor.pwrite(held[1], c % held[0].pages)


def close(group: Group, member: Member, b: int, _c: int) -> None:
    if held := group.file(member, b):
        member.actor.close(held[1])
        del member.files[held[0]]


def open_file(group: Group, member: Member, _b: int, c: int) -> None:
    region = group.named(c)
    if region and region not in member.files:
        member.files[region] = member.actor.open(region.path)


def join_by_name(group: Group, member: Member, b: int, c: int) -> None:
    """Map an object that it may never have had, and store to it."""
    region = group.named(c)
    if region and region.pages and group.may_map(member):
        descriptor = member.actor.open(region.path)
        first = b % region.pages
        window = member.actor.map(descriptor, region.pages - first, first)
        member.actor.close(descriptor)
        group.shows(member, region, window)
        group.put(member.actor, member.memory.shown[-1], c)
