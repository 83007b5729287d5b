"""Processes and threads that ptrace does not follow, and what the kernel stores at their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cast import MOST_PROCESSES

if TYPE_CHECKING:
    from cast import Member
    from group import Group

_THREAD = 24
_WORDS = 16
_MOST_DOOMED = 2


def store_in_untraced_life(group: Group, member: Member, b: int, c: int) -> None:
    """Have a child that nobody is told of (CLONE_UNTRACED) store, and end."""
    if shown := group.view(member, b):
        address, count = shown.run(c, 3)
        member.actor.ask("untraced_store", address, count, group.value() << 8)


def fork_untraced(group: Group, member: Member, _b: int, _c: int) -> None:
    """Start a child of which nobody is told, and which lives on."""
    if len(group.members) < MOST_PROCESSES:
        child = group.without_rings(member, member.actor.fork("untraced"))
        group.members.append(member.copy(child))


def start_untraced_thread(group: Group, _member: Member, _b: int, _c: int) -> None:
    """Start a thread of which nobody is told, which stores until it is ended."""
    extras = group.extras
    if not extras.unseen_thread:
        address = extras.harbour.at(_THREAD)
        group.root.actor.ask("untraced_thread", address, 8, group.value() << 16)
        extras.unseen_thread = True


def end_untraced_thread(group: Group, _member: Member, _b: int, _c: int) -> None:
    """Have that thread end."""
    group.extras.end_thread()


def start_threads_with_words(group: Group, _member: Member, b: int, c: int) -> None:
    """Start a process with threads that have a word each, which the kernel clears at their end."""
    shown, extras = group.view(group.root, b), group.extras
    if shown and len(extras.doomed) < _MOST_DOOMED:
        address, count = shown.run(c, _WORDS)
        value = (group.value() << 8) & 0x7FFFFFFF
        extras.doomed.append(group.root.actor.ask("words_to_clear", address, count, value))


def kill_threads_with_words(group: Group, _member: Member, _b: int, _c: int) -> None:
    """Kill them, all threads at once."""
    group.extras.kill_doomed()
