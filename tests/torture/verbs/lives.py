"""Processes and threads that come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import system
from cast import MOST_PROCESSES, Member

if TYPE_CHECKING:
    from group import Group


def fork(group: Group, member: Member, _b: int, _c: int) -> None:
    if len(group.members) < MOST_PROCESSES:
        child = group.without_rings(member, member.actor.fork())
        group.members.append(member.copy(child))


def share_space(group: Group, member: Member, _b: int, _c: int) -> None:
    """Start a process in the same memory: clone(CLONE_VM)."""
    if len(group.members) < MOST_PROCESSES:
        child = group.without_rings(member, member.actor.fork("clone_vm"))
        group.members.append(Member(child, member, member.memory, dict(member.files)))


def thread(_group: Group, member: Member, _b: int, _c: int) -> None:
    if len(member.threads) < 3:
        member.threads.append(member.actor.fork("thread"))


def vfork(group: Group, member: Member, b: int, c: int) -> None:
    """Have a child store into the memory that it borrows, and give it back."""
    if shown := group.view(member, b):
        child = member.actor.vfork()
        group.put(child, shown, c)
        child.exit()
        member.actor.end()


def leave(group: Group, member: Member, _b: int, _c: int) -> None:
    if member.parent is not None:
        member.actor.exit()
        group.bury(member)


def kill(group: Group, member: Member, _b: int, _c: int) -> None:
    if member.parent is not None:
        system.kill(member.actor.pid)
        group.bury(member)


def kill_all(group: Group, _member: Member, _b: int, _c: int) -> None:
    for other in group.members[1:]:
        system.kill(other.actor.pid)
    for other in group.members[1:]:
        if other in group.members:
            group.bury(other)


def store_and_die(group: Group, member: Member, b: int, c: int) -> None:
    """Store, and be gone before anybody looks."""
    shown = group.view(member, b)
    if member.parent is None or shown is None:
        return
    group.put(member.actor, shown, c)
    if b % 2:
        system.kill(member.actor.pid)
    else:
        member.actor.exit()
    group.bury(member)


def store_in_short_life(group: Group, member: Member, b: int, c: int) -> None:
    """Have a child do nothing else: it ends, is killed, or executes another program."""
    if shown := group.view(member, b):
        pages = shown.pages()
        first = pages[c % len(pages)]
        count = min(3, pages.stop - first)
        member.actor.ask("storm", shown.window.at(first), count, group.value() << 8)


def execute(group: Group, member: Member, b: int, c: int) -> None:
    """Store, and become another program, which has nothing of all this any more."""
    if member.parent is None:
        return  # it is to keep what others lose
    if shown := group.view(member, b):
        group.put(member.actor, shown, c)
    successor = member.actor.execute()
    group.members[group.members.index(member)] = Member(successor, member.parent)
