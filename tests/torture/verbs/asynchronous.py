"""Kernel AIO, by contexts that are made and destroyed within an epoch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cast import needing
from system import PAGE

if TYPE_CHECKING:
    from cast import Member
    from group import Group


def write_by_aio(group: Group, member: Member, b: int, c: int) -> None:
    """Write to a region through its file."""
    if (held := group.file(member, b)) and held[0].pages:
        offset = c % held[0].pages * PAGE
        with needing("kernel AIO"):
            member.actor.ask("aio", 1, held[1], group.bytes(), 8, offset)


def read_by_aio(group: Group, member: Member, b: int, c: int) -> None:
    """Read into a region."""
    if shown := group.view(member, b):
        address, _ = shown.run(c, 1)
        source = member.actor.open("/dev/urandom", os.O_RDONLY)
        try:
            with needing("kernel AIO"):
                member.actor.ask("aio", 0, source, address, 16, 0)
        finally:
            member.actor.close(source)
