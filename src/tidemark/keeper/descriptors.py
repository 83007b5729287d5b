"""Open files of processes through which a region can be written and no tracker sees it.

Whoever can write a region through a descriptor in an epoch has opened it since, which inotify(7)
tells; or there was a descriptor when the epoch began. That can be in the table of a process, in the
queue of a Unix socket that one has, or in a ring of io_uring. So a region is vouched for only where
none of these was there when the epoch began: what is done with a descriptor leaves no trace that
could be relied on. Writes through those that memfd_create(2) returned are not told by inotify
(Linux 6.14), nor is asynchronous output (io_submit(2)); access times are not kept by mounts with
noatime and by O_NOATIME, and futimens(2) sets them back.
"""

from __future__ import annotations

import functools
import os
import stat
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark import proc
from tidemark.keeper import pins
from tidemark.keeper.overlays import overlays_of
from tidemark.native.library import ForbiddenError, NativeError, ProcessGoneError
from tidemark.native.maps import shared_mappings
from tidemark.native.process import open_files, same_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tidemark.keeper.region import Region
    from tidemark.native.maps import RawMapping
    from tidemark.native.process import OpenFile

    Listed = Mapping[int, Sequence[RawMapping]]

_PROT_WRITE = 2

_EVENTS = "anon_inode:[fanotify]"
"""What waits there gives descriptors that are reported to nobody when it is read: fanotify(7)."""

_FILES = ("memfd", "posix")
"""The kinds of regions of which there can be descriptors."""


@dataclass
class Holdings:
    """What processes have open.

    ``unseen`` are the numbers of the regions that one of them can write without anybody's being
    told of it. Where ``pinned``, the kernel or a device may write pages on behalf of one without
    looking at its page table (:mod:`pins`). Which pages these are is not told: what mapped them may
    have been moved since, or taken away. Where it is ``unclear`` what files there are,
    ``unseen`` are all: descriptors wait in a socket, or a ring came or went while it was looked at.
    Of a process that runs this can be clear a moment later.
    """

    unseen: set[int] = field(default_factory=set)
    pinned: bool = False
    unclear: bool = False


def holdings(
    pids: Iterable[int], regions: Iterable[Region], listed: Listed | None = None
) -> Holdings:
    """Return what processes have open of ``regions``. They should stand, or it may change.

    A process that may not be inspected is passed over: none of the workload's is one.

    :param listed: by pid, the shared mappings of processes that stand, where they are known
    """
    search = _Search([region for region in regions if region.kind in _FILES])
    for pid in pids:
        search.look_at(pid, listed.get(pid) if listed else None)
    search.look_into_sockets()
    return search.found


class _Search:
    """Goes through processes and what they have open."""

    def __init__(self, regions: Sequence[Region]) -> None:
        self.found = Holdings()
        self._all = {region.number for region in regions}
        self._regions: dict[tuple[tuple[int, int], int], set[int]] = defaultdict(set)
        for region in regions:
            # Inode numbers are not unique: several regions can have the same one.
            self._regions[region.identity[0], region.identity[1]].add(region.number)
        self._named = {region.number for region in regions if region.kind == "posix"}
        self._overlays: dict[int, set[tuple[int, int]]] = {}  # by thread
        self._sockets: list[tuple[int, int]] = []
        self._buffers: dict[tuple[int, int], bool] = {}  # by device: its files are of DMA-BUF

    def look_at(self, pid: int, listed: Sequence[RawMapping] | None) -> None:
        rings = sum(self._look_at_table(tid) for tid in file_tables(pid))
        mappings = _mappings(pid) if listed is None else listed
        if any(self._is_of_overlay(pid, m.device) for m in mappings if m.protection & _PROT_WRITE):
            self.found.unseen |= self._named
        mapped = [m.name for m in mappings]
        if not rings and any(name.startswith(pins.RING) for name in mapped):
            self._leave_unclear()  # its files cannot be told
        self.found.pinned |= rings > 0 or pins.maps_holder(mapped) or pins.accounts_for_pins(pid)

    def _look_at_table(self, tid: int) -> int:
        """Note what one table of open files holds; return how many rings of io_uring."""
        rings = 0
        for file in open_files(tid):
            numbers = self._regions.get((file.device, file.inode))
            if numbers is not None:
                if not numbers <= self.found.unseen and _is_writable(tid, file.number):
                    self.found.unseen |= numbers
            elif stat.S_ISSOCK(file.mode):
                self._sockets.append((tid, file.number))
            elif file.device == _anonymous_device():
                rings += self._look_at_ring(tid, file.number)
            else:
                self.found.pinned |= pins.is_holder(tid, file) or self._is_buffer(tid, file)
                if stat.S_ISREG(file.mode) and self._is_of_overlay(tid, file.device):
                    self.found.unseen |= self._named
        return rings

    def _is_of_overlay(self, tid: int, device: tuple[int, int]) -> bool:
        """Return whether a file may have the pages of one of a tmpfs: a layer of an overlay."""
        if device[0] or self._named <= self.found.unseen:
            return False
        if tid not in self._overlays:
            self._overlays[tid] = overlays_of(tid)
        return device in self._overlays[tid]

    def _look_at_ring(self, tid: int, number: int) -> bool:
        """Note what a ring of io_uring(7) holds, if it is one: files that have no descriptor."""
        link = pins.link_of(tid, number)
        if link.startswith("anon_inode:kvm"):
            self.found.pinned = True
        if link == _EVENTS:
            self.found.unseen |= self._all
        if link != pins.RING:
            return False
        holds = _holds_files(f"/proc/{tid}/fdinfo/{number}")
        if holds is None:
            self._leave_unclear()
        elif holds:
            self.found.unseen |= self._all
        return True

    def _leave_unclear(self) -> None:
        self.found.unclear = True
        self.found.unseen |= self._all

    def _is_buffer(self, tid: int, file: OpenFile) -> bool:
        """Return whether a file is a buffer of DMA-BUF, which can be made of a memfd's pages."""
        if file.device[0] or stat.S_ISDIR(file.mode) or stat.S_ISFIFO(file.mode):
            return False
        if file.device not in self._buffers:
            link = pins.link_of(tid, file.number)
            self._buffers[file.device] = link.startswith("/dmabuf:")
        return self._buffers[file.device]

    def look_into_sockets(self) -> None:
        """Note that any region may be written through a descriptor that waits in a socket."""
        if self._all <= self.found.unseen:
            return
        if any(_holds_descriptors(tid, number) for tid, number in self._sockets):
            self._leave_unclear()


def _is_writable(tid: int, number: int) -> bool:
    return proc.descriptor_flags(tid, number) & os.O_ACCMODE != os.O_RDONLY


def _holds_files(path: str) -> bool | None:
    """Return whether files are registered with a ring; None where the kernel does not tell.

    It does not of one that is in use, or is closed by now.
    """
    try:
        fields = dict(
            line.split(":", 1) for line in Path(path).read_text().splitlines() if ":" in line
        )
        return int(fields["UserFiles"]) > 0
    except (OSError, KeyError, ValueError):
        return None


def _holds_descriptors(tid: int, number: int) -> bool:
    """Return whether descriptors wait in a socket, sent and not received."""
    waiting = proc.waiting_descriptors(tid, number)
    if waiting is None:
        return not _tells_of_descriptors() and _may_be_unix(tid, number)
    return waiting > 0


@functools.cache
def _tells_of_descriptors() -> bool:
    """Return whether the kernel tells of descriptors that wait in sockets (Linux 5.14)."""
    descriptor, other = _socket_pair()
    try:
        return proc.waiting_descriptors(os.getpid(), descriptor) is not None
    finally:
        os.close(descriptor)
        os.close(other)


def _socket_pair() -> tuple[int, int]:
    import socket

    one, other = socket.socketpair()
    return one.detach(), other.detach()


def _may_be_unix(tid: int, number: int) -> bool:
    try:
        name = os.getxattr(f"/proc/{tid}/fd/{number}", "system.sockprotoname")
    except OSError:
        return True
    return name.startswith(b"UNIX")


@functools.cache
def _anonymous_device() -> tuple[int, int]:
    """Return the device of files without a name, found by one of ours."""
    descriptor = os.eventfd(0)
    try:
        device = os.fstat(descriptor).st_dev
        return os.major(device), os.minor(device)
    finally:
        os.close(descriptor)


def _mappings(pid: int) -> Sequence[RawMapping]:
    for tid in proc.thread_ids(pid):
        try:
            return shared_mappings(tid)
        except NativeError:
            continue  # this thread has ended, another may live
    return ()


def file_tables(pid: int) -> Iterator[int]:
    """Yield a thread of a process for each table of open files: as a rule there is one."""
    found: list[int] = []
    for tid in proc.thread_ids(pid):
        if not any(_share_files(tid, other) for other in found):
            found.append(tid)
            yield tid


def _share_files(tid: int, other: int) -> bool:
    try:
        return same_files(tid, other)
    except (ForbiddenError, ProcessGoneError):
        return True  # what it has open cannot be told either
    except NativeError:
        return False  # the kernel cannot compare (kcmp): look at each
