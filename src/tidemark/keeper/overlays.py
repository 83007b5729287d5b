"""Overlays on a tmpfs: files of theirs show the same pages as files of the tmpfs."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from tidemark import proc
from tidemark.keeper.natures import mounts_of

if TYPE_CHECKING:
    from tidemark.keeper.objects import Device

_UPPER = "upperdir="


def overlays_of(tid: int) -> set[Device]:
    """Return the overlays that a process sees mounted and whose files may be those of a tmpfs.

    Only the upper layer is written to. Where its directory cannot be looked at, it may be.
    """
    found: set[Device] = set()
    with contextlib.suppress(OSError):
        for line in proc.lines(proc.read(f"/proc/{tid}/mountinfo")):
            before, _, after = line.partition(" - ")
            kind, _, options = after.partition(" ")
            if kind == "overlay" and _may_be_tmpfs(options):
                major, minor = before.split()[2].split(":")
                found.add((int(major), int(minor)))
    return found


def _may_be_tmpfs(options: str) -> bool:
    if _UPPER not in options:
        return False  # nothing of it can be written
    upper = options.partition(_UPPER)[2].partition(",")[0]
    try:
        device = os.stat(upper).st_dev  # noqa: PTH116 - as the kernel wrote it
    except OSError:
        return True
    return mounts_of(os.getpid()).get((os.major(device), os.minor(device)), "tmpfs") == "tmpfs"
