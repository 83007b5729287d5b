"""Processes outside of the workload that map its regions, or can write them unseen."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

from tidemark import proc
from tidemark.keeper import suspicion
from tidemark.keeper.descriptors import holdings
from tidemark.keeper.loops import files_of_loops
from tidemark.native.library import ForbiddenError, NativeError
from tidemark.native.maps import shared_mappings

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from tidemark.keeper.identify import Identifier
    from tidemark.keeper.objects import Identity
    from tidemark.keeper.region import Region

_PAUSES = (0.002, 0.004, 0.008, 0.016, 0.032)
"""Seconds between one look and the next, where it is not clear yet what somebody has open."""

_KTHREADD = 2
"""The parent of the kernel's threads, which has no memory; elsewhere, a process like any other."""


def outside_writers(
    ours: Container[int], identifier: Identifier, regions: Sequence[Region]
) -> dict[Identity, str]:
    """Return what processes other than ``ours`` and this one may write, each with the reason.

    One that may not be inspected may hold what its user can open. That the superuser's own
    services do not write other programs' memory is taken for granted, and that nobody handed
    such a process a descriptor over a socket.
    """
    others = [pid for pid in _user_processes() if pid not in ours and not _is_ours(pid)]
    files = [region for region in regions if region.kind in {"memfd", "posix"}]
    named = [region for region in files if region.kind == "posix"]
    found: dict[Identity, str] = {}
    for pid in others:
        try:
            found |= dict.fromkeys(_mapped(pid, identifier, regions), suspicion.FOREIGN)
        except ForbiddenError:
            user = proc.user_of(pid)
            for region in named:
                if user and _may_be_opened(region, user):
                    found.setdefault(region.identity, suspicion.UNINSPECTED)
    if files:
        unseen = _look_at_files(others, regions)
        found |= {r.identity: suspicion.FOREIGN for r in regions if r.number in unseen}
        found |= dict.fromkeys(_behind_loops(files), suspicion.FOREIGN)
    return found


def _look_at_files(others: Sequence[int], regions: Sequence[Region]) -> set[int]:
    """Return which regions processes may write through descriptors.

    What is on its way through a socket has arrived a moment later, as a rule; and a ring that was
    made between two looks at its process is seen whole.
    """
    found = holdings(others, regions)
    for pause in _PAUSES:
        if not found.unclear:
            break
        time.sleep(pause)
        found = holdings(others, regions)
    return found.unseen


def _behind_loops(files: Sequence[Region]) -> list[Identity]:
    """Return which regions a loop device may write to."""
    behind = files_of_loops()
    return [r.identity for r in files if behind is None or r.identity[:2] in behind]


def _user_processes() -> list[int]:
    """Return all processes but the kernel's own, as far as these can be told."""
    kernel = {_KTHREADD, *proc.children_of(_KTHREADD)} if not proc.has_memory(_KTHREADD) else set()
    return [pid for pid in proc.process_ids() if pid not in kernel]


def _is_ours(pid: int) -> bool:
    """Return whether a process is this one, or a child of the workload that was just born."""
    return pid == os.getpid() or proc.status_field(pid, "TracerPid") == str(os.getpid())


def _may_be_opened(region: Region, user: int) -> bool:
    """Return whether processes of a user can open a region's file for writing, by its name."""
    if region.descriptor is None:
        return True
    status = os.fstat(region.descriptor)
    return user == status.st_uid or bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _mapped(pid: int, identifier: Identifier, regions: Sequence[Region]) -> set[Identity]:
    """Return which of the regions a process maps, asked through a thread that has not ended.

    :raises ForbiddenError: when it has memory and may not be inspected
    """
    for tid in _living(pid):
        try:
            raw = shared_mappings(tid)
        except ForbiddenError:
            if proc.has_memory(tid):
                raise
            continue  # a thread of the kernel
        except NativeError:
            continue
        return identifier.shown(tid, raw, regions)
    return set()


def _living(pid: int) -> list[int]:
    """Return threads of a process: the first, unless it has ended before others."""
    return [pid] if proc.state_of(pid) != "Z" else proc.thread_ids(pid)[1:]
