"""Programs that may want for themselves what the tracker holds.

Memory can be under one userfaultfd(2) only: where it is under the tracker's, a program that wants
to register it itself is refused (EBUSY), and nothing tells us before. So a program that has one
open, or has in its code what makes one, is not put under the tracker, and its memory is compared
by content; unless the tracker was asked for by its name. Libraries are not looked at: some have
the code, and next to none of the programs that load them use it.
"""

from __future__ import annotations

import contextlib
import logging
import os

from tidemark.keeper.programs import warn_of
from tidemark.native.library import NativeError
from tidemark.native.process import may_use_userfaultfd

log = logging.getLogger(__name__)

_OWN = "it has a userfaultfd of its own"
_MAY = "its program may make a userfaultfd of its own"
_LINK = "anon_inode:[userfaultfd]"


class Rivals:
    """What is known of the programs of processes.

    :param looks: whether they are looked at; else none of them is a rival
    """

    def __init__(self, *, looks: bool) -> None:
        self._looks = looks
        self._programs: dict[tuple[int, int, int], bool] = {}  # by device, inode and time
        self._found: dict[int, str | None] = {}  # by process

    def forget(self, pid: int) -> None:
        """Forget a process that has ended, or runs another program."""
        self._found.pop(pid, None)

    def why_alone(self, pid: int) -> str | None:
        """Return why a process is not to be put under the tracker; None where it may be."""
        if pid not in self._found:
            warn_of(pid)
            self._found[pid] = why = self._look(pid) if self._looks else None
            if why is not None:
                log.warning(
                    "process %d is compared by content, since %s, of which memory can have one "
                    "only; to track it all the same, ask for the tracker uffd-wp",
                    pid,
                    why,
                )
        return self._found[pid]

    def _look(self, pid: int) -> str | None:
        if _has_one(pid):
            return _OWN
        with contextlib.suppress(OSError, NativeError):
            descriptor = os.open(f"/proc/{pid}/exe", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return _MAY if self._may_make_one(descriptor) else None
            finally:
                os.close(descriptor)
        return None

    def _may_make_one(self, descriptor: int) -> bool:
        status = os.fstat(descriptor)
        program = (status.st_dev, status.st_ino, status.st_mtime_ns)
        if program not in self._programs:
            self._programs[program] = may_use_userfaultfd(descriptor)
        return self._programs[program]


def _has_one(pid: int) -> bool:
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # it was closed meanwhile
                if os.readlink(entry.path) == _LINK:  # noqa: PTH115 - it is no path
                    return True
    return False
