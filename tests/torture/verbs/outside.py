"""What others do to the processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from system import write_across

if TYPE_CHECKING:
    from cast import Member
    from group import Group


def write_from_outside(group: Group, member: Member, b: int, c: int) -> None:
    if shown := group.view(member, b):
        pages = shown.pages()
        address = shown.window.at(pages[c % len(pages)])
        group.stage.write_memory(member.actor.pid, address, group.bytes())


def copy_from_outside(group: Group, member: Member, b: int, c: int) -> None:
    if shown := group.view(member, b):
        pages = shown.pages()
        address = shown.window.at(pages[c % len(pages)])
        write_across(member.actor.pid, address, group.bytes())


def outsider_maps(group: Group, _member: Member, _b: int, c: int) -> None:
    region = group.named(c)
    if region is None or not region.pages:
        return
    outsider = group.extras.guest()
    actor = outsider.actor
    descriptor = actor.open(region.path)
    group.shows(outsider, region, actor.map(descriptor, region.pages))
    actor.close(descriptor)


def outsider_stores(group: Group, _member: Member, b: int, c: int) -> None:
    if group.extras.outsider and (shown := group.view(group.extras.outsider, b)):
        group.put(group.extras.outsider.actor, shown, c)


def outsider_leaves(group: Group, _member: Member, _b: int, _c: int) -> None:
    if group.extras.outsider:
        for shown in group.extras.outsider.memory.shown:
            group.extras.outsider.actor.unmap(shown.window)
        group.extras.outsider.memory.shown.clear()
