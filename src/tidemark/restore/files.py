"""Restoring regions as files, or into memory files."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

from tidemark.directories import PRIVATE, directory_mode, open_directory, set_mode
from tidemark.errors import StorageError
from tidemark.image.chain import Chain
from tidemark.image.check import check_image
from tidemark.native.library import PAGE_SIZE, writing

if TYPE_CHECKING:
    from pathlib import Path

_WITHOUT = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}
"""What open(2) says to O_TMPFILE where the file system has no files without a name."""


def restore_region(chain: Chain, number: int, target: int) -> None:
    """Write a region's content into the empty file ``target``; zero pages become holes."""
    region, zero = chain.region(number), chain.zero(number)
    if zero is None:
        region.source.place(region.present, target)
    else:
        region.source.transfer(region.present - zero, target)


def restore_files(image: Path, directory: Path, mode: int = PRIVATE) -> list[Path]:
    """Write each region of an image to ``directory`` as a sparse file ``region-N.mem``.

    They get their names when all of them are whole and durable; whatever fails before that leaves
    nothing. No file that is there is written to, or replaced.

    :param mode: their permissions
    :raises ImageError: when the image or a parent of it is damaged; then nothing is written
    :raises StorageError: when the directory cannot be written, or holds a file of such a name
    """
    check_image(image)
    made: list[Path] = []
    try:
        with writing(directory):
            opened = open_directory(directory, directory_mode(mode), made)
            with Chain(image) as chain, _Files(opened, directory, mode) as files:
                for number in chain.regions():
                    files.check_free(_name(number))
                for number in chain.regions():
                    descriptor = files.add(_name(number))
                    os.ftruncate(descriptor, chain.region(number).pages * PAGE_SIZE)
                    restore_region(chain, number, descriptor)
                    os.fsync(descriptor)
                files.publish()
    except BaseException:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir()
        raise
    return [directory / name for name in files.names]


def _name(number: int) -> str:
    return f"region-{number}.mem"


class _Files:
    """Files in an open directory that have no names there until all are whole."""

    def __init__(self, directory: int, path: Path, mode: int) -> None:
        self._directory, self._path, self._mode = directory, path, mode
        self._added: dict[str, tuple[int, str | None]] = {}
        self._stack = ExitStack()
        self._stack.callback(os.close, directory)

    @property
    def names(self) -> list[str]:
        """The names that they get, in order."""
        return list(self._added)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def check_free(self, name: str) -> None:
        """Refuse a name that something has.

        :raises StorageError: then
        """
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=self._directory, follow_symlinks=False)
            raise self._taken(name)

    def add(self, name: str) -> int:
        """Return a descriptor of a new file that is to get this name."""
        descriptor, temporary = self._create(name)
        self._added[name] = descriptor, temporary
        self._stack.callback(os.close, descriptor)
        set_mode(descriptor, self._mode)
        return descriptor

    def _create(self, name: str) -> tuple[int, str | None]:
        """Return a file without a name, or under one that says that it is not whole."""
        try:
            flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
            return os.open(".", flags, PRIVATE, dir_fd=self._directory), None
        except OSError as error:
            if error.errno not in _WITHOUT:
                raise
        temporary = f".{name}.{os.urandom(6).hex()}.tmp"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, PRIVATE, dir_fd=self._directory)
        self._stack.callback(self._forget, temporary)
        return descriptor, temporary

    def publish(self) -> None:
        """Give all of them their names, or none.

        :raises StorageError: when something has such a name by now
        """
        with ExitStack() as undo:
            for name in self._added:
                self._name(name)
                undo.callback(self._forget, name)
            os.fsync(self._directory)
            undo.pop_all()

    def _name(self, name: str) -> None:
        descriptor, temporary = self._added[name]
        source = temporary or f"/proc/self/fd/{descriptor}"
        begin = self._directory if temporary else None
        try:
            os.link(source, name, src_dir_fd=begin, dst_dir_fd=self._directory)
        except FileExistsError:
            raise self._taken(name) from None
        except OSError as error:
            if temporary is None or error.errno not in {errno.EPERM, errno.EOPNOTSUPP}:
                raise
            self.check_free(name)  # without links, there is a moment in between
            os.rename(temporary, name, src_dir_fd=begin, dst_dir_fd=self._directory)

    def _forget(self, name: str) -> None:
        with suppress(OSError):
            os.unlink(name, dir_fd=self._directory)

    def _taken(self, name: str) -> StorageError:
        return StorageError(
            f"{self._path / name} is there already; move it away, or restore to another directory"
        )
