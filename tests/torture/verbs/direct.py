"""Direct reads: the kernel pins the reader's pages when one begins, and its data come later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cast import needing
from system import PAGE

if TYPE_CHECKING:
    from cast import Member
    from group import Group

_MANY = 8
"""Reads that one thread makes, one after the other, into memory that stays where it is."""


def read_directly(group: Group, _member: Member, b: int, c: int) -> None:
    """Have a thread read into any page; the group goes on meanwhile."""
    if shown := group.view(group.root, b):
        address, _ = shown.run(c, 1)
        group.extras.read_slowly(group.extras.reader(c), address, PAGE, 1)


def read_directly_for_long(group: Group, _member: Member, _b: int, c: int) -> None:
    """Have a thread read again and again."""
    extras = group.extras
    extras.read_slowly(extras.reader(c), extras.harbour.at(4 * (c % 3)), PAGE, _MANY)


def begin_asynchronous_read(group: Group, _member: Member, b: int, c: int) -> None:
    """Begin a direct read by kernel AIO, which may end in another epoch."""
    extras = group.extras
    shown = group.view(group.root, b)
    if shown is None or extras.asynchronous:
        return
    _, descriptor = extras.slow_file()
    address, _ = shown.run(c, 1)
    with needing("kernel AIO"):
        group.root.actor.ask("aio_begin", 0, descriptor, address, PAGE, 0)
    extras.asynchronous = True


def end_asynchronous_read(group: Group, _member: Member, _b: int, _c: int) -> None:
    """Wait for that read, and destroy its context."""
    group.extras.end_asynchronous()


def begin_to_write_from_outside(group: Group, member: Member, b: int, c: int) -> None:
    """Have a process outside begin process_vm_writev(2): it waits for what it is to write."""
    if shown := group.view(member, b):
        address, count = shown.run(c, 4)
        value = group.value() << 8
        group.extras.begin_write(member.actor.pid, address, count * PAGE, value)


def end_writing_from_outside(group: Group, _member: Member, _b: int, _c: int) -> None:
    """Have it write, in this epoch or in a later one."""
    group.extras.end_write()
