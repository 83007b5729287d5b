"""Stores and loads, by a process, its threads, and the kernel."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cast import Member
    from group import Group


def store(group: Group, member: Member, b: int, c: int) -> None:
    if shown := group.view(member, b):
        group.put(member.actor, shown, c)


def store_edge(group: Group, member: Member, b: int, c: int) -> None:
    if shown := group.view(member, b):
        group.put(member.actor, shown, -(c % 2))


def fill(group: Group, member: Member, b: int, c: int) -> None:
    if shown := group.view(member, b):
        pages = shown.pages()
        first = pages[c % len(pages)]
        count = min(8, pages.stop - first)
        member.actor.ask("fill", shown.window.at(first), count, group.value() << 8)


def load(group: Group, member: Member, b: int, c: int) -> None:
    if shown := group.view(member, b):
        pages = shown.pages()
        member.actor.load(shown.window, pages[c % len(pages)])


def silent_store(group: Group, member: Member, b: int, c: int) -> None:
    if shown := group.view(member, b):
        pages = shown.pages()
        page = pages[c % len(pages)]
        value = member.actor.load(shown.window, page)
        member.actor.ask("poke", shown.window.at(page), value.to_bytes(8, "little"))


def store_by_thread(group: Group, member: Member, b: int, c: int) -> None:
    if member.threads and (shown := group.view(member, b)):
        group.put(member.threads[c % len(member.threads)], shown, c)


def read_into(group: Group, member: Member, b: int, c: int) -> None:
    """Have the kernel store, by read(2)."""
    if shown := group.view(member, b):
        pages = shown.pages()
        source = member.actor.open("/dev/urandom", os.O_RDONLY)
        member.actor.call("read", source, shown.window.at(pages[c % len(pages)]), 16)
        member.actor.close(source)
