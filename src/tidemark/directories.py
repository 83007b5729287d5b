"""Directories: opened once, by no link of a stranger's, and made for this user alone."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIVATE = 0o600
"""The permissions of files that may hold memory: nobody but their owner reads them."""

PUBLIC_DIRECTORY = 0o777

MODES = (PRIVATE, 0o640, 0o660)
"""Permissions that files can be asked for: their owner's, or those of a group, too."""

_PASSING = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40
_OPEN = ("/", "proc", "self", "fd")


def directory_mode(mode: int) -> int:
    """Return the permissions of a directory for files of ``mode``.

    Who may write there as a group has all of it belong to that group (the set-group-ID bit).
    """
    return 0o700 | (0o050 if mode & 0o040 else 0) | (0o2020 if mode & 0o020 else 0)


def open_directory(path: Path, make: int | None = None, made: list[Path] | None = None) -> int:
    """Return a new descriptor of a directory, by which names in it are looked up from now on.

    A link in its path is followed if root or this user has made it, and no other.

    :param make: what is missing of the path is made with these permissions, and durable
    :param made: gets what was made, outermost first
    :raises StorageError: for a link of another user
    :raises OSError: when it is not there, is no directory, or cannot be read or made
    """
    start, left = _start(path)
    with _passing(start) as place:
        links = 0
        while left:
            entered = _enter(place[0], left[-1], make, made)
            name = left.pop()
            target = _link_target(entered, Path(_named(place[0]), name))
            if target is None:
                os.close(place[0])
                place[0] = entered
                continue
            os.close(entered)
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            if target.is_absolute():
                os.close(place[0])
                place[0] = os.open("/", _PASSING | os.O_DIRECTORY)
            left += [part for part in reversed(target.parts) if part != target.anchor]
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place[0])


def _start(path: Path) -> tuple[str, list[str]]:
    """Return where a path begins, and its other parts, last first.

    One that begins with a descriptor of ours leads on from what is open, whatever that is called.
    """
    if path.parts[: len(_OPEN)] == _OPEN and len(path.parts) > len(_OPEN):
        return str(Path(*path.parts[: len(_OPEN) + 1])), list(path.parts[: len(_OPEN) : -1])
    start = "/" if path.is_absolute() else "."
    return start, [part for part in reversed(path.parts) if part != path.anchor]


@contextmanager
def _passing(start: str) -> Iterator[list[int]]:
    place = [os.open(start, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    try:
        yield place
    finally:
        os.close(place[0])


def _named(descriptor: int) -> str:
    """Return the path of an open directory, as the kernel knows it."""
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def _enter(directory: int, name: str, make: int | None, made: list[Path] | None) -> int:
    """Return a descriptor of what stands under a name, which is made if that is asked for."""
    try:
        return os.open(name, _PASSING, dir_fd=directory)
    except FileNotFoundError:
        if make is None:
            raise
    with suppress(FileExistsError):  # somebody was quicker
        make_within(directory, name, make)
        if made is not None:
            made.append(Path(_named(directory), name))
    return os.open(name, _PASSING, dir_fd=directory)


def make_within(directory: int, name: str, mode: int, *, durable: bool = True) -> None:
    """Make a directory of ours with just these permissions, whatever the umask.

    :param mode: the permissions; of PUBLIC_DIRECTORY the umask takes some
    :param durable: its name outlives a crash of the machine
    :raises OSError: when something has that name, or it cannot be made
    """
    os.mkdir(name, mode & 0o777, dir_fd=directory)
    descriptor = os.open(name, _PASSING | os.O_DIRECTORY, dir_fd=directory)
    try:
        status = os.fstat(descriptor)
        wanted = mode | status.st_mode & stat.S_ISGID
        if mode != PUBLIC_DIRECTORY and status.st_uid == os.geteuid():
            set_mode(descriptor, wanted)
    finally:
        os.close(descriptor)
    if durable:
        with suppress(PermissionError):  # one may write there, and not read: it cannot be synced
            sync_at(directory)


def set_mode(descriptor: int, mode: int) -> None:
    """Give an open file or directory these permissions, if it has others.

    :raises StorageError: when its file system keeps none
    """
    if stat.S_IMODE(os.fstat(descriptor).st_mode) == mode:
        return
    path = Path(f"/proc/self/fd/{descriptor}")  # for one that is open by its path alone
    with suppress(OSError):  # what came of it is looked at next
        path.chmod(mode)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) & ~mode:
        raise StorageError(
            f"{path.readlink()} can be read by others, and its file system does not let that be "
            "changed; use another one, since what is written holds memory"
        )


def sync_at(directory: int) -> None:
    """Make the names in an open directory durable."""
    descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link_target(entered: int, path: Path) -> Path | None:
    """Return where a link leads; None for a directory.

    :raises StorageError: for a link of another user
    :raises NotADirectoryError: for anything else
    """
    status = os.fstat(entered)
    if stat.S_ISDIR(status.st_mode):
        return None
    if not stat.S_ISLNK(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    if status.st_uid not in {0, os.geteuid()}:
        raise StorageError(
            f"{path} is a link that user {status.st_uid} has made, and is not followed; name the "
            "place itself"
        )
    return Path(os.readlink("", dir_fd=entered))


def make_directory(path: Path, mode: int) -> None:
    """Make a directory and what is missing above it, durable; it may be there already."""
    os.close(open_directory(path, mode))


def is_ours(status: os.stat_result, directory: int) -> bool:
    """Return whether a file in an open directory belongs to this user.

    A server may give all files of root's to somebody else: then that is who a new one belongs to.
    """
    if status.st_uid == os.geteuid():
        return True
    name = f".{os.urandom(6).hex()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, PRIVATE, dir_fd=directory)
    except OSError:
        return False
    try:
        return os.fstat(descriptor).st_uid == status.st_uid
    finally:
        os.close(descriptor)
        os.unlink(name, dir_fd=directory)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Give a descriptor of a directory, which is closed when the block ends.

    :raises OSError: when it is a link, or cannot be opened
    """
    is_open = path.parts[:-1] == _OPEN  # its name is a link, which the kernel has made
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if is_open else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def mount_of(path: Path | str) -> str:
    """Return by which mount a path is reached, as the kernel numbers them in this namespace.

    :raises OSError: when it is not there
    """
    descriptor = os.open(path, _PASSING)
    try:
        fields = Path(f"/proc/self/fdinfo/{descriptor}").read_text().split()
        return fields[fields.index("mnt_id:") + 1]
    finally:
        os.close(descriptor)
