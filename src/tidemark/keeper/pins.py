"""Pages that the kernel, or a device, may write for a process without its page table being told.

Whoever holds a page for that has pinned it before, which marks it as written; its content comes at
any time. As long as there may be such a holder, nothing is certain.

What shows of them:

- rings of io_uring(7), by a descriptor or a mapping: buffers that are registered or provided,
  requests under way, which the counters of a ring do not tell (multishot requests), and rings in
  memory of the program's own;
- contexts of io_setup(2), which are mapped;
- VmPin of /proc/PID/status: pages that are accounted for (io_uring, RDMA, vfio), whoever holds
  the descriptor by now;
- the kernel's counts of pages that it holds for anybody on the machine (root);
- devices that may take memory of a process: GPUs, RDMA, vfio, KVM, and any other one that is not
  known to leave it alone; sockets of AF_XDP, which are mapped; buffers of DMA-BUF.
"""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tidemark.native.library import NativeError
from tidemark.native.process import has_pinned, pins_outstanding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tidemark.native.process import OpenFile

RING = "anon_inode:[io_uring]"
"""What a ring is called where it is open, or mapped."""

_HOLDERS = (RING, "/[aio]", "socket:[", "/dmabuf:", "anon_inode:kvm")
"""How mappings begin of what may hold pages."""

_NO_DEVICES = ("/dev/shm/", "/dev/zero")  # noqa: S108 - names of mappings

_MEMORY, _MISC = 1, 10
_DEV_MEM, _DEV_KMEM, _DEV_PORT = 1, 2, 4
_HARMLESS_MAJORS = {4, 5, 7, 13, 14, 29, 108, 116, 166, 188, 204, 229, *range(128, 144)}
"""Terminals, screens, input, sound, ppp: Documentation/admin-guide/devices.txt."""

_HARMLESS_MISC = {130, 135, 183, 200, 223, 224, 227, 228, 229, 231, 235, 236, 237}
"""Watchdog, clocks, random numbers, tun, uinput, tpm, fuse, autofs, device-mapper, loop-control."""

_HARMLESS_NAMES = {"/dev/userfaultfd", "/dev/rfkill", "/dev/cuse"}


SWITCH = "TIDEMARK_PINS"
"""The environment variable that, set to ``off``, has nobody ask what is pinned on the machine."""


class Count:
    """The kernel's own count of the pages that it holds for anybody on this machine.

    The processors' shares of it are added up by a thread of the kernel on each of them, for which
    another thread waits than the one that asks.
    """

    def __init__(self) -> None:
        self._asks = os.environ.get(SWITCH) != "off"
        self._executor = ThreadPoolExecutor(1, "pins")

    def ask(self) -> Callable[[], bool]:
        """Begin to ask, and return what waits for the answer: whether there are such pages.

        False where the kernel does not tell us.
        """
        if not self._asks:
            return lambda: False
        answer = self._executor.submit(pins_outstanding)
        return lambda: bool(answer.result())

    def close(self) -> None:
        """Ask no more."""
        self._executor.shutdown()


def maps_holder(names: Iterable[str]) -> bool:
    """Return whether one of a process's shared mappings is of something that may hold pages."""
    return any(
        name.startswith(_HOLDERS) or (name.startswith("/dev/") and not name.startswith(_NO_DEVICES))
        for name in names
    )


def is_holder(tid: int, file: OpenFile) -> bool:
    """Return whether a file that is no region, and no ring, may hold pages of its user."""
    if stat.S_ISCHR(file.mode):
        return not _is_harmless(tid, file)
    return False


def _is_harmless(tid: int, file: OpenFile) -> bool:
    major, minor = file.represents
    if major == _MEMORY:
        return minor not in {_DEV_MEM, _DEV_KMEM, _DEV_PORT}
    if major in _HARMLESS_MAJORS or (major == _MISC and minor in _HARMLESS_MISC):
        return True
    return link_of(tid, file.number) in _HARMLESS_NAMES


def link_of(tid: int, number: int) -> str:
    """Return what a descriptor of a thread is called; empty where it is gone."""
    try:
        return os.readlink(f"/proc/{tid}/fd/{number}")  # noqa: PTH115 - quicker
    except OSError:
        return ""


def accounts_for_pins(pid: int) -> bool:
    """Return whether pages of a process are pinned for long, or it cannot be told."""
    try:
        return has_pinned(pid)
    except NativeError:
        return False  # it is gone, or not ours to look at
