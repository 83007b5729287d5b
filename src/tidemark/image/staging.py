"""Directories of images that are not whole yet: beside their names, locked by who writes them."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tidemark.directories import directory_mode, make_directory, make_within, opened
from tidemark.errors import StorageError
from tidemark.files import sync_directory
from tidemark.image.names import PARENT, is_image_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def staged(target: Path, mode: int) -> Iterator[Path]:
    """Give a directory beside ``target`` that takes its name when the block succeeds.

    :raises StorageError: when ``target`` holds something
    :raises OSError: when it cannot be written
    """
    if os.path.lexists(target) and (target.is_symlink() or not _is_empty(target)):
        raise StorageError(f"{target} is there already; remove it, or write to another place")
    make_directory(target.parent, directory_mode(mode))
    remove_leftovers(target)
    staging = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with opened(target.parent) as parent:
        make_within(parent, staging.name, directory_mode(mode), durable=False)
    lock = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield staging
        staging.rename(target)
        sync_directory(target.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def remove_leftovers(target: Path) -> None:
    """Remove what writers of ``target`` left that were killed; one that lives holds its lock."""
    form = re.compile(rf"\.{re.escape(target.name)}\.[0-9]+\.tmp", re.ASCII)
    for path in target.parent.iterdir():
        if form.fullmatch(path.name):
            with suppress(OSError), opened(path) as descriptor:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove_unfinished(path, descriptor)


def _remove_unfinished(path: Path, descriptor: int) -> None:
    """Remove a directory of ours that holds nothing but files of an image."""
    names = os.listdir(descriptor)
    ours = os.fstat(descriptor).st_uid == os.geteuid()
    if ours and all(name == PARENT or is_image_name(name) for name in names):
        for name in names:
            os.unlink(name, dir_fd=descriptor)
        path.rmdir()
