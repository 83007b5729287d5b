"""Pages that are given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from system import PAGE

if TYPE_CHECKING:
    from cast import Member
    from group import Group

_DONTNEED, _REMOVE, _PAGEOUT = 4, 9, 21
_KEEP_AND_PUNCH = 3


def advise(group: Group, member: Member, b: int, c: int, advice: int) -> None:
    if shown := group.view(member, b):
        group.put(member.actor, shown, c)
        part = shown.part(c, b % 5)
        member.actor.call("madvise", part.address, part.bytes, advice)


def give_up_pages(group: Group, member: Member, b: int, c: int) -> None:
    advise(group, member, b, c, _DONTNEED)


def remove_pages(group: Group, member: Member, b: int, c: int) -> None:
    advise(group, member, b, c, _REMOVE)


def remove_and_load(group: Group, member: Member, b: int, c: int) -> None:
    """Give a page back, and have all who map it read it: it is there again, all zero."""
    shown = group.view(member, b)
    if shown is None:
        return
    pages = shown.pages()
    page = pages[c % len(pages)]
    member.actor.call("madvise", shown.window.at(page), PAGE, _REMOVE)
    for other in group.members:
        for view in other.memory.shown:
            if view.region is shown.region and page in view.pages():
                other.actor.load(view.window, page)


def page_out(group: Group, member: Member, b: int, c: int) -> None:
    advise(group, member, b, c, _PAGEOUT)


def punch(group: Group, member: Member, b: int, c: int) -> None:
    if (held := group.file(member, b)) and held[0].pages:
        first = c % held[0].pages
        member.actor.call("fallocate", held[1], _KEEP_AND_PUNCH, first * PAGE, 3 * PAGE)
