"""Objects whose length is no multiple of a page, and which change it at any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cast import MOST_REGIONS, Region
from system import PAGE

if TYPE_CHECKING:
    from cast import Member
    from group import Group

_LENGTHS = (1, 32, 4095, 4097, 5000, 100_001)


def new_region_of_any_length(group: Group, member: Member, b: int, c: int) -> None:
    """Map a new file of some bytes."""
    if len(group.regions) >= MOST_REGIONS or not group.may_map(member):
        return
    length, actor = _LENGTHS[c % len(_LENGTHS)], member.actor
    pages = -(-length // PAGE)
    path = group.stage.shm_path() if b % 2 else ""
    made = actor.file(path, 0) if path else actor.memfd(0)
    actor.call("ftruncate", made, length)
    region, window = Region("posix" if path else "memfd", pages, path), actor.map(made, pages)
    member.files[region] = made
    group.regions.append(region)
    group.shows(member, region, window)
    actor.ask("fill", window.address, pages, group.value() << 8)


def truncate_anywhere(group: Group, member: Member, b: int, c: int) -> None:
    """Cut an object in the middle of a page, and make it longer or shorter once more."""
    held = group.file(member, b)
    if held is None or held[0].pages < 2:
        return
    region, descriptor = held
    bytes_now = region.pages * PAGE
    member.actor.call("ftruncate", descriptor, 1 + c % bytes_now)
    length = 1 + PAGE + (7 * c + b) % (bytes_now - PAGE) if c % 4 == 0 else bytes_now - c % PAGE
    region.pages = -(-length // PAGE)
    member.actor.call("ftruncate", descriptor, length)


def cut_from_outside(group: Group, _member: Member, b: int, c: int) -> None:
    """Have a process outside cut a file, and make it as long again."""
    region = group.named(c)
    if region is None or not region.pages:
        return
    outsider = group.extras.guest()
    descriptor = outsider.actor.open(region.path)
    outsider.actor.call("ftruncate", descriptor, 1 + b % (region.pages * PAGE))
    outsider.actor.call("ftruncate", descriptor, region.pages * PAGE)
    outsider.actor.close(descriptor)
