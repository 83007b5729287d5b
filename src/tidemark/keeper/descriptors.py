"""Open files of processes through which a region can be written and no tracker sees it."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark import proc
from tidemark.native.library import ForbiddenError, NativeError, ProcessGoneError
from tidemark.native.maps import shared_mappings
from tidemark.native.process import open_files, same_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tidemark.keeper.region import Region
    from tidemark.native.maps import RawMapping

    Listed = Mapping[int, Sequence[RawMapping]]

_RING = "anon_inode:[io_uring]"
_CONTEXT = "/[aio]"
"""How the rings of io_uring(7) and of io_setup(2) are called where they are mapped."""


@dataclass
class Holdings:
    """What processes have open.

    ``unseen`` are the numbers of the regions that one of them can write without anybody's being
    told of it. Where ``pinned``, the kernel may write pages on its behalf without looking at its
    page table: it holds on to buffers that are registered with io_uring, and to those of a direct
    read (O_DIRECT) until the device is done with them. Which pages these are is not told: what
    mapped them may have been moved since, or taken away.
    """

    unseen: set[int] = field(default_factory=set)
    pinned: bool = False


def holdings(
    pids: Iterable[int], regions: Iterable[Region], listed: Listed | None = None
) -> Holdings:
    """Return what processes have open of ``regions``. They should stand, or it may change.

    A process that may not be inspected is passed over: none of the workload's is one.

    :param listed: by pid, the shared mappings of processes that stand, where they are known
    """
    listed = listed or {}
    files = {region.identity[:2]: region for region in regions if region.kind in {"memfd", "posix"}}
    found = Holdings()
    for pid in pids:
        rings = sum(_look_at_table(pid, tid, files, found) for tid in file_tables(pid))
        asynchronous = _mapped(pid, listed.get(pid))
        if not rings and _RING in asynchronous:
            _note_unknown_ring(files.values(), found)
        found.pinned |= _CONTEXT in asynchronous  # what is under way in it is not told
    return found


def _look_at_table(
    pid: int, tid: int, files: dict[tuple[tuple[int, int], int], Region], found: Holdings
) -> int:
    """Note what one table of open files holds; return how many rings of io_uring."""
    rings = 0
    for file in open_files(tid):
        region = files.get((file.device, file.inode))
        if region is not None and region.number not in found.unseen:
            if _writes_unseen(region, pid, tid, file.number):
                found.unseen.add(region.number)
        elif file.device == _anonymous_device() and _is_ring(tid, file.number):
            rings += 1
            _look_at_ring(f"/proc/{tid}/fdinfo/{file.number}", files.values(), found)
    return rings


def _writes_unseen(region: Region, pid: int, tid: int, number: int) -> bool:
    """Return whether inotify, or the access time, would not tell what a descriptor was used for.

    - a descriptor that memfd_create(2) returned is not watched (Linux 6.14);
    - a mapping made of one with O_NOATIME leaves no trace;
    - neither does output by io_submit(2).
    """
    flags = proc.descriptor_flags(tid, number)
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return False
    if region.kind == "memfd" or flags & os.O_NOATIME:
        return True
    return _CONTEXT in _mapped(pid, None)


def _look_at_ring(path: str, files: Iterable[Region], found: Holdings) -> None:
    """Note what a ring of io_uring(7) holds: files that have no descriptor, and buffers."""
    try:
        fields = dict(
            line.split(":", 1) for line in Path(path).read_text().splitlines() if ":" in line
        )
        if int(fields["UserFiles"]):
            found.unseen.update(region.number for region in files if region.kind == "memfd")
        under_way = int(fields["CachedSqHead"]) != int(fields["CachedCqTail"])
        found.pinned |= under_way or int(fields["UserBufs"]) > 0
    except (OSError, KeyError, ValueError):  # the kernel tells nothing while the ring is in use
        _note_unknown_ring(files, found)


def _note_unknown_ring(files: Iterable[Region], found: Holdings) -> None:
    found.unseen.update(region.number for region in files if region.kind == "memfd")
    found.pinned = True


def _is_ring(tid: int, number: int) -> bool:
    try:
        return str(Path(f"/proc/{tid}/fd/{number}").readlink()) == _RING
    except OSError:
        return False


@functools.cache
def _anonymous_device() -> tuple[int, int]:
    """Return the device of files without a name, found by one of ours."""
    descriptor = os.eventfd(0)
    try:
        device = os.fstat(descriptor).st_dev
        return os.major(device), os.minor(device)
    finally:
        os.close(descriptor)


def _mapped(pid: int, listed: Sequence[RawMapping] | None) -> set[str]:
    """Return which rings a process maps, by ``_RING`` and ``_CONTEXT``."""
    mapped = _mappings(pid) if listed is None else listed
    names = (_RING, _CONTEXT)
    return {name for name in names if any(m.name.startswith(name) for m in mapped)}


def _mappings(pid: int) -> Sequence[RawMapping]:
    for tid in proc.thread_ids(pid):
        try:
            return shared_mappings(tid)
        except NativeError:
            continue  # this thread has ended, another may live
    return ()


def file_tables(pid: int) -> list[int]:
    """Return a thread of a process for each table of open files: as a rule there is one."""
    found: list[int] = []
    for tid in proc.thread_ids(pid):
        if not any(_share_files(tid, other) for other in found):
            found.append(tid)
    return found


def _share_files(tid: int, other: int) -> bool:
    try:
        return same_files(tid, other)
    except (ForbiddenError, ProcessGoneError):
        return True  # what it has open cannot be told either
    except NativeError:
        return False  # the kernel cannot compare (kcmp): look at each
