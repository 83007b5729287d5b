"""Loop devices, which write to the file behind them with no descriptor that a process has."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = Path("/sys/block")
_GET_STATUS = 0x4C05  # LOOP_GET_STATUS64 of <linux/loop.h>
_STATUS = struct.Struct("QQ")  # the device and the inode of the file, and more
_STATUS_BYTES = 232

File = tuple[tuple[int, int], int]
"""A file's device and its inode."""


def files_of_loops() -> list[File] | None:
    """Return the files behind the loop devices of the machine; None where they cannot be told."""
    found = []
    for name in _bound_loops():
        try:
            found.append(_file_behind(f"/dev/{name}"))
        except OSError:
            return None
    return found


def _bound_loops() -> Iterator[str]:
    try:
        names = os.listdir(_BLOCK)  # noqa: PTH208 - quicker
    except OSError:
        return
    for name in names:
        if name.startswith("loop") and (_BLOCK / name / "loop").is_dir():
            yield name


def _file_behind(device: str) -> File:
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = fcntl.ioctl(descriptor, _GET_STATUS, bytes(_STATUS_BYTES))
    finally:
        os.close(descriptor)
    number, inode = _STATUS.unpack_from(status)
    return (os.major(number), os.minor(number)), inode
