"""Writing files so that they exist whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from tidemark.bounded import DecodingError, Limits, parse_json, read_regular
from tidemark.directories import (
    PRIVATE,
    PUBLIC_DIRECTORY,
    directory_mode,
    is_ours,
    open_directory,
    set_mode,
)
from tidemark.errors import StorageError, TidemarkError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SCHEMA = 1

PUBLIC = 0o666
"""The permissions of what holds no memory, as reports do: the umask takes from them."""

STEP = Limits(bytes=1 << 32, values=1 << 24)
"""For what a step writes: truth.json holds 43 bytes for each page, and a run for some."""


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a failure to write into one sentence that names ``path`` and the remedy.

    :raises StorageError: for a full, read-only, forbidden or failing file system
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {path}: {_remedy(error)}") from error


def _remedy(error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "the file system is full; free some space, or set `results` to another place"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "it is not writable by this user; set `results` to a directory that is"
        case errno.ENOTDIR:
            return "a file stands where a directory is needed; move it away"
        case errno.EEXIST | errno.ELOOP:
            return "something that is not ours stands there; move it away, or name another place"
        case _:
            return f"{error.strerror or error}"


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes, mode: int = PRIVATE, *, sync_name: bool = True) -> None:
    """Write ``content`` beside ``path``, make it durable, and rename it there.

    :param mode: the permissions of the file, whatever the umask, but for PUBLIC
    :param sync_name: make its name durable, too; else that is the caller's to do
    """
    with storage_errors(path):
        directory = open_directory(
            path.parent, PUBLIC_DIRECTORY if mode == PUBLIC else directory_mode(mode)
        )
        try:
            _replace(directory, path.name, content, mode)
            if sync_name:
                os.fsync(directory)
        finally:
            os.close(directory)


def _replace(directory: int, name: str, content: bytes, mode: int) -> None:
    temporary = f".{name}.{os.urandom(6).hex()}.tmp"
    try:
        with open_new(temporary, mode, directory) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise


def open_new(path: Path | str, mode: int = PRIVATE, directory: int | None = None) -> BinaryIO:
    """Return a file that nobody had before, to write and to read.

    :param mode: its permissions, whatever the umask, but for PUBLIC
    :param directory: a descriptor of the directory in which its name is looked up
    :raises FileExistsError: when something has that name, be it a link
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode, dir_fd=directory)
    if mode != PUBLIC:
        set_mode(descriptor, mode)
    return os.fdopen(descriptor, "w+b")


def open_log(path: Path, *, anew: bool = False) -> int:
    """Return a descriptor to append to a log of ours, which only this user may read.

    :param anew: it begins empty
    :raises OSError: when a link, a file of another user, or anything but a file has that name
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptor = os.open(path.name, flags, PRIVATE, dir_fd=directory)
        try:
            _take_over(descriptor, directory, path)
            if anew:
                os.ftruncate(descriptor, 0)
        except BaseException:
            os.close(descriptor)
            raise
    finally:
        os.close(directory)
    os.set_blocking(descriptor, True)
    return descriptor


def _take_over(descriptor: int, directory: int, path: Path) -> None:
    """Let nobody else read a file of ours.

    :raises FileExistsError: when it is none
    """
    status = os.fstat(descriptor)
    if not (stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and is_ours(status, directory)):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    set_mode(descriptor, PRIVATE)


def dump_json(value: Mapping[str, object]) -> bytes:
    """Return ``value`` as this project's JSON: sorted keys, a schema version, one final newline."""
    return json.dumps({"schema": SCHEMA, **value}, sort_keys=True, indent=1).encode() + b"\n"


def write_json(
    path: Path, value: Mapping[str, object], mode: int = PRIVATE, *, sync_name: bool = True
) -> None:
    """Write ``value`` to ``path`` as JSON with a schema version, as :func:`write_bytes` does."""
    write_bytes(path, dump_json(value), mode, sync_name=sync_name)


def read_json(path: Path, limits: Limits = STEP) -> dict[str, Any]:
    """Return the object in a JSON file of ours.

    :raises TidemarkError: when the file is missing, is no JSON within ``limits``, or has another
        schema version
    """
    try:
        value = parse_json(read_regular(path, limits.bytes), limits)
    except FileNotFoundError:
        raise TidemarkError(f"{path} is missing; run the step that writes it again") from None
    except DecodingError as error:
        raise TidemarkError(f"{path} {error}; remove it and run again") from error
    except (OSError, ValueError) as error:
        raise TidemarkError(f"{path} cannot be read ({error}); remove it and run again") from error
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise TidemarkError(f"{path} is not of schema {SCHEMA}; remove it and run again")
    return value
