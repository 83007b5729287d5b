"""Directories of ours: marked as such, so that nothing of anybody else's is removed or written.

The mark is a directory within, `.tidemark`, in which everything is ours: the lock, what is being
written, what is being removed. What stands beside it is known by its content, never by its name.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tidemark.directories import (
    MODES,
    PRIVATE,
    PUBLIC_DIRECTORY,
    directory_mode,
    is_ours,
    make_within,
    open_directory,
)
from tidemark.errors import StorageError, TidemarkError
from tidemark.files import read_json, storage_errors, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MARK = ".tidemark"
MARK_JSON = "directory.json"
WORDS = ("checkpoints", "results", "keeper")
"""What a directory of ours can be for."""
_TOLERATED = {".gitkeep", ".gitignore"}
"""What keeps an empty directory in a repository."""
_LOST = "lost+found"
"""What mkfs(8) makes in the first directory of a file system."""
_UNFINISHED = re.compile(rf"\.{re.escape(MARK_JSON)}\.[0-9a-f]+\.tmp", re.ASCII)


@dataclass(frozen=True)
class Kind:
    """What a directory of ours is for, by a word and in a sentence.

    ``foreign``: gives, of a directory without a mark, the first entry that keeps it from being
    taken for one of a former version, which left no mark; None if it is one. Empty ones are no
    question. ``public``: others may look in as far as the umask allows, for there are reports.
    ``found_by_name``: so is what stands in it, which is why nobody else may write to it.
    """

    word: str
    sentence: str
    foreign: Callable[[Path, Sequence[str]], str | None]
    public: bool = False
    found_by_name: bool = False


class OwnDirectory:
    """A directory that is marked as ours, and opened once; made if it is not there.

    ``path``: where it really is; ``at``: the same by its descriptor, whatever becomes of its name;
    ``within``: what is ours alone, in the same form; ``mode``: the permissions of files in it.

    :param mode: where several users share it, as it is made; None for what it was made with
    :raises StorageError: when it holds what is not ours, is another user's or of another kind, or
        cannot be written
    """

    def __init__(self, path: Path, kind: Kind, mode: int | None = None) -> None:
        self.kind = kind
        self._asked = mode
        with storage_errors(path):
            made = PUBLIC_DIRECTORY if kind.public else directory_mode(mode or PRIVATE)
            self.descriptor = open_directory(path, made)
            try:
                self.at = Path(f"/proc/self/fd/{self.descriptor}")
                self.path = self.at.readlink()
                self._check_guarded()
                self._private = self._open_mark()
                try:
                    self.mode = self._read_mark()
                except BaseException:
                    os.close(self._private)
                    raise
            except BaseException:
                os.close(self.descriptor)
                raise
        self.within = Path(f"/proc/self/fd/{self._private}")

    @property
    def private(self) -> int:
        """A descriptor of what is ours alone."""
        return self._private

    def close(self) -> None:
        """Let go of it."""
        if self.descriptor >= 0:
            os.close(self._private)
            os.close(self.descriptor)
            self.descriptor = self._private = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check_place(self) -> None:
        """Refuse to go on where its name leads elsewhere by now.

        :raises StorageError: then
        """
        with suppress(OSError):
            if os.path.samestat(self.path.stat(), os.fstat(self.descriptor)):
                return
        raise StorageError(
            f"{self.path} was moved away, or something else was put there; begin again with the "
            "directory as it is now"
        )

    def trusts(self, status: os.stat_result) -> bool:
        """Return whether a file here was made by this user, or by one who shares the directory."""
        if self.mode & 0o020 and status.st_gid == os.fstat(self.descriptor).st_gid:
            return not status.st_mode & 0o002
        return is_ours(status, self._private)

    def _open_mark(self) -> int:
        """Return a descriptor of the mark; set it where nothing foreign is here.

        :raises StorageError: when it is not ours
        """
        with suppress(FileNotFoundError):
            found = self._open_private()
            within = [path.name for path in Path(f"/proc/self/fd/{found}").iterdir()]
            if MARK_JSON in within:
                return found
            os.close(found)
            if not all(_UNFINISHED.fullmatch(name) for name in within):
                raise self._refuse(f"its {MARK} is not one of Tidemark's")
            # Whoever has made it was killed before he said what for.
        self._check_unmarked()
        with suppress(FileExistsError):
            make_within(self.descriptor, MARK, directory_mode(self._asked or PRIVATE))
        return self._open_private()

    def _open_private(self) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(MARK, flags, dir_fd=self.descriptor)
        except NotADirectoryError:
            raise self._refuse(f"its {MARK} is no directory") from None
        except PermissionError:
            raise self._refuse(f"its {MARK} is another user's") from None
        try:
            self._check_private(os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check_private(self, status: os.stat_result) -> None:
        """Refuse a mark that others have made, or can write: but for a group that was asked for.

        :raises StorageError: then
        """
        shared = self._asked is not None and self._asked & 0o020
        groups = {*os.getgroups(), os.getegid()}
        if shared and status.st_mode & 0o020 and status.st_gid in groups:
            others = status.st_mode & 0o002
        else:
            if not is_ours(status, self.descriptor):
                raise self._refuse(f"it belongs to user {status.st_uid}")
            others = status.st_mode & 0o002
        if others:
            raise self._refuse(f"everybody can write to its {MARK}")

    def _check_guarded(self) -> None:
        mode = os.fstat(self.descriptor).st_mode
        # Where the sticky bit is set, nobody can put his own in the place of what is ours.
        if self.kind.found_by_name and mode & 0o002 and not mode & stat.S_ISVTX:
            raise self._refuse("everybody can write to it")

    def _check_unmarked(self) -> None:
        names = sorted({path.name for path in self.at.iterdir()} - _TOLERATED - {MARK})
        if _LOST in names and _is_roots(self.at / _LOST):
            names.remove(_LOST)
        foreign = self.kind.foreign(self.at, names)
        if names and foreign is not None:
            raise self._refuse(f"it holds what is not Tidemark's ({foreign})")

    def _read_mark(self) -> int:
        """Return the permissions of files here; write what this is for where that is not said yet.

        A mark that is damaged is made anew, as it would be in a directory without one.

        :raises StorageError: when it is for something else
        """
        path = Path(f"/proc/self/fd/{self._private}", MARK_JSON)
        said = _said(path)
        if said is None:
            self._check_unmarked()
            mode = self._asked or _file_mode(os.fstat(self._private).st_mode)
            said = self.kind.word, mode
            write_json(path, {"kind": said[0], "mode": f"{mode:o}"}, mode)
        word, known = said
        if word != self.kind.word:
            raise self._refuse(f"it is marked for another use ({word})")
        if self._asked not in {None, known}:
            raise self._refuse(f"it was made with --mode {known:o}")
        return known

    def _refuse(self, why: str) -> StorageError:
        return StorageError(
            f"{self.path} cannot be {self.kind.sentence}: {why}; name a new or an empty directory"
        )


def _said(path: Path) -> tuple[str, int] | None:
    """Return what a mark says: its word, and the permissions of files; None where it is damaged."""
    try:
        said = read_json(path)
        word, mode = said["kind"], int(str(said["mode"]), 8)
    except (TidemarkError, KeyError, ValueError):
        return None
    return (word, mode) if word in WORDS and mode in MODES else None


def _file_mode(directory: int) -> int:
    return 0o660 if directory & 0o020 else 0o640 if directory & 0o040 else PRIVATE


def is_marked(path: Path) -> bool:
    """Return whether a directory has a mark, whatever that says."""
    return stat.S_ISDIR(_mode_of(path / MARK))


def _mode_of(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _is_roots(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0
