"""Rings of io_uring(7): the kernel writes to buffers and files that it holds on to.

Both rings are the first process's own. While one is open little is vouched for, so they go again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cast import needing
from system import PAGE

if TYPE_CHECKING:
    from cast import Member
    from group import Group

_INCREMENTAL = 2
_MEMORY, _BUFFERS, _BUFFER = 16, 18, 20
"""Where in the harbour a ring, a ring of buffers, and a buffer are."""


def read_by_ring(group: Group, _member: Member, b: int, _c: int) -> None:
    """Have the kernel store through a buffer that is registered."""
    root, extras = group.root, group.extras
    shown = group.view(root, b)
    if shown is None:
        return
    if extras.ring < 0:
        with needing("io_uring"):
            extras.ring = root.actor.ask("uring", shown.window.address, PAGE)
        extras.ring_buffer = shown
    source = root.actor.open("/dev/urandom", os.O_RDONLY)
    shown = extras.ring_buffer
    if shown in root.memory.shown and shown is not None and shown.pages():
        root.actor.ask("uring_read", source, shown.window.address, 16, 1, 1)
    root.actor.close(source)


def close_ring(group: Group, _member: Member, _b: int, _c: int) -> None:
    """Close the ring with the registered buffer."""
    if group.extras.ring >= 0:
        group.extras.ring = -1
        group.root.actor.ask("uring_close")


def ring_in_shared_memory(group: Group, _member: Member, _b: int, _c: int) -> None:
    """Have the kernel keep its results in memory of the program's (IORING_SETUP_NO_MMAP).

    A request that goes on tells there of each event, whether somebody looks for it or not.
    """
    _open(group, "events", group.extras.harbour.at(_MEMORY))
    with needing("polls of io_uring that go on"):
        group.root.actor.ask("ring_poll", group.extras.pipe[0])


def ring_with_buffers(group: Group, _member: Member, _b: int, c: int) -> None:
    """Provide buffers: by a request, or by a ring of them, which is used up bit by bit or not."""
    harbour = group.extras.harbour
    _open(group, "select")
    actor, place = group.root.actor, harbour.at(_BUFFER)
    with needing("rings of provided buffers"):
        if c % 3 == 0:
            actor.ask("ring_provide", place, 4 * PAGE)
        else:
            flags = _INCREMENTAL if c % 3 == 1 else 0
            actor.ask("ring_of_buffers", harbour.at(_BUFFERS), place, 4 * PAGE, flags)


def ring_that_reads_on(group: Group, _member: Member, _b: int, _c: int) -> None:
    """Have whatever comes read into provided buffers, by one request (multishot)."""
    harbour = group.extras.harbour
    _open(group, "multishot")
    actor = group.root.actor
    with needing("reads of io_uring that go on"):
        actor.ask(
            "ring_of_buffers", harbour.at(_BUFFERS), harbour.at(_BUFFER), 4 * PAGE, _INCREMENTAL
        )
        actor.ask("ring_multishot", group.extras.pipe[0])


def ring_with_a_file(group: Group, _member: Member, b: int, _c: int) -> None:
    """Register a file with a ring, which then needs no descriptor."""
    held = group.file(group.root, b)
    if held is None or not held[0].pages:
        return
    _open(group, "file")
    group.root.actor.ask("ring_file", held[1])


def use_ring(group: Group, _member: Member, _b: int, c: int) -> None:
    """Have the second ring do what it is for."""
    extras, actor = group.extras, group.root.actor
    if extras.second_kind in {"select", "multishot", "events"}:
        actor.call("write", extras.pipe[1], group.bytes(), 8)
    if extras.second_kind == "select":
        actor.ask("ring_select", extras.pipe[0], 8)
    elif extras.second_kind == "multishot" or (extras.second_kind == "events" and c % 4 == 0):
        actor.ask("ring_reap")
    elif extras.second_kind == "file":
        actor.ask("ring_write", group.bytes(), 8, c % 3 * PAGE)


def close_second_ring(group: Group, _member: Member, _b: int, _c: int) -> None:
    """Close the second ring."""
    extras = group.extras
    if extras.second >= 0:
        extras.second = -1
        extras.second_kind = ""
        group.root.actor.ask("ring_close")
        for end in extras.pipe:
            group.root.actor.close(end)


def _open(group: Group, kind: str, address: int = 0) -> None:
    """Open the second ring, in the place of an earlier one.

    :raises LackingError: where the kernel has none of that kind
    """
    close_second_ring(group, group.root, 0, 0)
    extras = group.extras
    with needing("io_uring"):
        extras.second = group.root.actor.ask("ring", address)
    extras.pipe = extras.new_pipe()
    extras.second_kind = kind
