"""What a group has at most one of: rings, slow writers, and others that take their time."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from typing import TYPE_CHECKING

from cast import Member, needing
from system import PAGE, is_alive, kill, wait_until

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from actors import Actor, Window
    from cast import Parcel, Region, Shown
    from stage import Stage

HARBOUR = 64
"""Pages of a region that the first process always maps, at the same place."""

_DELAY = 2000
"""How long a slow read takes, in microseconds."""


class Extras:
    """What belongs to the first process alone, and what others do to it that takes time.

    ``harbour``: memory that nobody unmaps, for what must not find other memory in its place.
    """

    def __init__(self, stage: Stage, root: Actor) -> None:
        self._stage = stage
        self._root = root
        self.harbour: Window = root.anonymous(HARBOUR)
        self.outsider: Member | None = None
        self.ring = -1  # with a registered buffer
        self.ring_buffer: Shown | None = None
        self.second = -1  # another ring, of the kind
        self.second_kind = ""
        self.pipe = (-1, -1)  # what feeds it
        self.parcels: list[Parcel] = []
        self.doomed: list[int] = []  # processes of which threads have words that are cleared
        self.unseen_thread = False
        self.asynchronous = False  # a read of kernel AIO is under way
        self.cuts: list[tuple[Region, int]] = []  # due while the workload stands
        self._slow: tuple[Actor, int] | None = None  # a server, and its file in the first process
        self._readers: list[Actor] = []
        self._writer: Actor | None = None
        self._writes = False

    def rings(self) -> list[int]:
        """Return the descriptors of rings that are open."""
        return [ring for ring in (self.ring, self.second) if ring >= 0]

    # Who is not of the workload

    def stranger(self) -> Actor:
        """Start a process that nobody keeps, of the workload's user."""
        return self._stage.program(prefix=self._stage.user)

    def guest(self) -> Member:
        """Return the process outside that maps regions, and opens them."""
        if self.outsider is None:
            self.outsider = Member(self.stranger(), None)
        return self.outsider

    def cut(self) -> bool:
        """Cut what is due to be cut while the workload stands; return whether anything was."""
        due, self.cuts = self.cuts, []
        for region, length in due:
            region.pages = min(region.pages, -(-length // PAGE))
            with contextlib.suppress(OSError):
                os.truncate(region.path, length)
        return bool(due)

    def slow_file(self) -> tuple[Actor, int]:
        """Return a server whose file is read slowly, and the first process's descriptor of it.

        :raises LackingError: where there is no FUSE
        """
        if self._slow is None:
            path = str(self._stage.directory / "slow")
            os.makedirs(path, exist_ok=True)  # noqa: PTH103 - of whatever user
            with needing("a file system of one's own (FUSE)", errno.ENOENT):
                server = self.stranger()
                server.ask("slow_file", path, _DELAY)
                inside = f"/proc/{server.pid}/root{path}/data"
                self._slow = server, self._root.open(inside, os.O_RDONLY | os.O_DIRECT)
        return self._slow

    def reader(self, c: int) -> Actor:
        """Return a thread of the first process that may be waiting for what it reads."""
        if len(self._readers) < 3:
            self._readers.append(self._root.fork("thread"))
        return self._readers[c % len(self._readers)]

    def read_slowly(self, reader: Actor, address: int, length: int, count: int) -> None:
        """Have a thread read from the slow file, and wait until it has begun to."""
        server, descriptor = self.slow_file()
        reader.finish()
        before = server.ask("slow_reads")
        reader.charge("read_directly", descriptor, address, length, 4, count)
        wait_until(
            lambda: reader.has_answered() or server.ask("slow_reads") > before, "a slow read"
        )

    def begin_write(self, pid: int, address: int, length: int, value: int) -> None:
        """Have a process outside begin to write; it goes on when :meth:`end_write` says so.

        :raises LackingError: where the kernel's own faults cannot be waited for
        """
        self.end_write()
        if self._writer is None:
            self._writer = self.stranger()
        with needing("a source that makes process_vm_writev wait (userfaultfd)"):
            self._writer.ask("across", pid, address, length, value)
        self._writes = True

    def end_write(self) -> None:
        """Let it write, if it has begun."""
        if self._writes and self._writer is not None:
            self._writes = False
            with contextlib.suppress(OSError):  # who was written to is gone
                self._writer.ask("across_end")

    # Descriptors

    def new_pipe(self) -> tuple[int, int]:
        """Return the ends of a new pipe of the first process: to read, and to write."""
        self._root.begin("call", "pipe2", bytes(8), os.O_CLOEXEC)
        read, write = struct.unpack("<ii", self._root.end()[2][0])
        return read, write

    def socket_pair(self) -> tuple[int, int]:
        """Return two sockets of the first process that are connected."""
        self._root.begin("call", "socketpair", 1, 1 | os.O_CLOEXEC, 0, bytes(8))
        one, other = struct.unpack("<ii", self._root.end()[2][0])
        return one, other

    def drop_parcels(self, shown: AbstractSet[Region]) -> None:
        """Let go of the parcels of regions that nobody maps any more."""
        for parcel in [p for p in self.parcels if p.region not in shown]:
            self.parcels.remove(parcel)
            for descriptor in (parcel.into, parcel.out, *(parcel.wrapped or ())):
                with contextlib.suppress(OSError):
                    self._root.close(descriptor)

    # The end of what takes time

    def end_asynchronous(self) -> None:
        """Wait for the asynchronous read."""
        if self.asynchronous:
            self.asynchronous = False
            self._root.ask("aio_end")

    def end_thread(self) -> None:
        """Have the thread end that nobody follows."""
        if self.unseen_thread:
            self.unseen_thread = False
            self._root.ask("untraced_thread_end")

    def kill_doomed(self) -> None:
        """Kill the processes whose threads have words that the kernel clears."""
        for pid in self.doomed:
            kill(pid)
            wait_until(lambda pid=pid: not is_alive(pid), "the end of a process")  # type: ignore[misc]
        self.doomed.clear()

    def settle(self) -> None:
        """Have all of it come to its end."""
        for reader in self._readers:
            with contextlib.suppress(OSError):
                reader.finish()
        self.end_write()
        with contextlib.suppress(OSError):
            self.end_asynchronous()
        self.end_thread()
