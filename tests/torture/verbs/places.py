"""Objects that are told apart by neither number nor name: other namespaces, and no mount."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cast import MOST_PROCESSES, MOST_REGIONS, Member, Region, needing

if TYPE_CHECKING:
    from actors import Actor
    from group import Group

_PAGES = 24
_NEW_MOUNTS, _NEW_IPC, _NEW_USER = 0x20000, 0x08000000, 0x10000000
_PRIVATE, _DETACH = 0x44000, 2
_NAME_BYTES = 249


def segment_elsewhere(group: Group, member: Member, _b: int, _c: int) -> None:
    """Have a child share a segment whose id is that of another: in a namespace of its own."""
    if not _has_room(group) or len(group.members) >= MOST_PROCESSES:
        return
    child = _child_in(group, member, _NEW_IPC)
    for shown in child.memory.shown:
        shown.whole = False  # by its id it cannot be attached again
    segment = child.actor.segment(_PAGES)
    region = Region("sysv", _PAGES, segment=segment)
    group.regions.append(region)
    group.shows(child, region, child.actor.attach_segment(segment, _PAGES), whole=True)
    group.put(child.actor, child.memory.shown[-1], 0)


def file_of_lost_mount(group: Group, member: Member, _b: int, _c: int) -> None:
    """Have a child map a file of a tmpfs that is mounted nowhere any more."""
    if not _has_room(group) or len(group.members) >= MOST_PROCESSES:
        return
    child = _child_in(group, member, _NEW_MOUNTS)
    actor, place = child.actor, str(group.stage.directory)
    with needing("a mount of one's own"):
        actor.call("mount", "none", "/", 0, _PRIVATE, 0)
        actor.call("mount", "lost", place, "tmpfs", 0, 0)
    made = actor.file(f"{place}/lost", _PAGES)
    actor.call("umount2", place, _DETACH)
    _share(group, child, made)


def file_without_mount(group: Group, member: Member, _b: int, _c: int) -> None:
    """Map a file of a tmpfs that was never mounted anywhere (fsmount)."""
    if _has_room(group) and group.may_map(member):
        with needing("a file system without a mount (fsopen)"):
            made = member.actor.ask("detached_file", "detached")
        member.actor.truncate(made, _PAGES)
        _share(group, member, made)


def file_with_long_name(group: Group, member: Member, b: int, _c: int) -> None:
    """Map a memory file with the longest name that there can be, or a file with a long path."""
    if not _has_room(group) or not group.may_map(member):
        return
    if b % 2:
        _share(group, member, member.actor.memfd(_PAGES, "n" * _NAME_BYTES))
        return
    directory = group.stage.directory
    for _ in range(12):
        directory /= "d" * 250
    directory.mkdir(parents=True, exist_ok=True)
    for each in (directory, *list(directory.parents)[:11]):
        each.chmod(0o777)
    path = str(directory / f"file-{group.value()}")
    _share(group, member, member.actor.file(path, _PAGES), path)


def _has_room(group: Group) -> bool:
    return len(group.regions) < MOST_REGIONS


def _child_in(group: Group, member: Member, namespace: int) -> Member:
    """Return a new child in a namespace of its own."""
    actor = group.without_rings(member, member.actor.fork())
    child = member.copy(actor)
    group.members.append(child)
    own_user = 0 if os.geteuid() == 0 and not group.stage.user else _NEW_USER
    with needing("a namespace of one's own"):
        actor.call("unshare", namespace | own_user)
        if own_user:
            _name_user(actor.pid)
    return child


def _name_user(pid: int) -> None:
    """Have a process's own namespace of users know its user, so that it can make files."""
    status = Path(f"/proc/{pid}").stat()
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"0 {status.st_uid} 1"),
        ("gid_map", f"0 {status.st_gid} 1"),
    ):
        Path(f"/proc/{pid}/{name}").write_text(text)


def _share(group: Group, member: Member, made: int, path: str = "") -> None:
    actor: Actor = member.actor
    region = Region("posix", _PAGES, path)
    window = actor.map(made, _PAGES)
    member.files[region] = made
    group.regions.append(region)
    group.shows(member, region, window)
    actor.ask("fill", window.address, _PAGES // 2, group.value() << 8)
