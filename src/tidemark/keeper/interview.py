"""What an object says of itself, for the truth alone: see :mod:`inspection`."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
import struct

_TMPFS = 0x01021994
_EMPTY_PATH = 0x1000
_HANDLE_BYTES = 128
_TMPFS_HANDLE = 1, 12
"""FILEID_INO32_GEN of three words: generation, inode, and the inode's upper half."""


Key = tuple[int, int, bytes]
"""Device and inode of an object, and what sets it apart from others of these numbers."""

Found = tuple[Key, bool]
"""An object's key, and whether it is shared memory."""


def ask(path: str) -> Found | None:
    """Return what is at a path; None where it cannot be asked. It is not opened for that."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        return _ask_descriptor(descriptor)
    finally:
        os.close(descriptor)


def _ask_descriptor(descriptor: int) -> Found | None:
    """Ask first for the handle, which the kernel makes by itself.

    What does not look like a tmpfs's is not asked any further: its file system may be served by a
    process that stands (FUSE), and we would wait for it for ever.
    """
    form, handle, reason = _handle(descriptor)
    if reason not in {0, errno.EOPNOTSUPP, errno.EOVERFLOW}:
        return None
    if (form, len(handle)) != _TMPFS_HANDLE:
        return (0, 0, handle), False
    return key_of(descriptor), is_memory(descriptor)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def kernel_device() -> int:
    """Return the device of all shared memory that is in no mounted file system."""
    descriptor = os.memfd_create("tidemark-truth")
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


def _handle(descriptor: int) -> tuple[int, bytes, int]:
    """Return the form of an object's handle, its bytes, and 0 or why there is none."""
    head = struct.pack("Ii", _HANDLE_BYTES, 0)
    handle = ctypes.create_string_buffer(head, len(head) + _HANDLE_BYTES)
    mount = ctypes.c_int()
    if _libc().name_to_handle_at(descriptor, b"", handle, ctypes.byref(mount), _EMPTY_PATH):
        return 0, b"", ctypes.get_errno()
    length, form = struct.unpack_from("Ii", handle.raw)
    return form, handle.raw[len(head) : len(head) + length], 0


def key_of(descriptor: int) -> Key:
    """Return what tells the object behind a descriptor from every other: its handle, too."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, _handle(descriptor)[1]


def is_memory(descriptor: int) -> bool:
    """Return whether a descriptor shows shared memory: a regular file of a tmpfs, wherever."""
    buffer = ctypes.create_string_buffer(512)  # struct statfs, which begins with the type
    if _libc().fstatfs(descriptor, buffer) or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    return bool(struct.unpack_from("l", buffer.raw)[0] == _TMPFS)
