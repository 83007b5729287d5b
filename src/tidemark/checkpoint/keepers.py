"""Where keepers in the background are: one directory each, found by a name or a process id."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import stat
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemark.directories import make_directory
from tidemark.errors import KeeperError, StorageError, TidemarkError
from tidemark.files import storage_errors
from tidemark.keeper.client import Client, is_alive, readable
from tidemark.keeper.ending import KEEPER_END, end_of
from tidemark.keeper.record import read_keeper
from tidemark.owned import MARK, Kind, OwnDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tidemark.keeper.record import KeeperRecord

log = logging.getLogger(__name__)

KEEPER_JSON = "keeper.json"
_FILES = {
    KEEPER_JSON,
    KEEPER_END,
    "keeper.log",
    "keeper.sock",
    "output.log",
    "command.log",
    "ending.json",
}
_ENDING_SECONDS = 10
"""How long a keeper may take to let its processes run, and to end."""

REMEDY = "that of a workload which has ended is, too; start another with `tidemark keep`"


def runtime_directory() -> Path:
    """Return the directory that holds a user's keepers, which is nobody else's.

    :raises StorageError: when somebody else has made it
    """
    base = os.environ.get("XDG_RUNTIME_DIR") or _shared_base()
    path = Path(base, "tidemark" if os.access(base, os.W_OK) else "")
    if base == tempfile.gettempdir():
        path = Path(base, f"tidemark-{os.getuid()}")
    with storage_errors(path):
        make_directory(path, 0o700)
        status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise StorageError(f"{path} is not this user's alone; remove it, or use --directory")
    return path


def _shared_base() -> str:
    return "/run" if os.getuid() == 0 and Path("/run").is_dir() else tempfile.gettempdir()


def _unknown(_: Path, names: Sequence[str]) -> str | None:
    """Return what a keeper does not leave; None where a former version's may have worked."""
    return next((name for name in names if name not in _FILES), None)


def _foreign(directory: Path, names: Sequence[str]) -> str | None:
    """Return what keeps a directory from being one in which a former version's keeper worked.

    That has left its `keeper.json`, which is known by what it says; a log may be anybody's.
    """
    unknown = _unknown(directory, names)
    if unknown is None and names:
        try:
            read_keeper(directory / KEEPER_JSON)
        except TidemarkError:
            return names[0]
    return unknown


def work_directory(path: Path | None, name: str) -> Path:
    """Return the directory in which a keeper is to work, made or marked as ours.

    :param path: where the user wants it; None: by its name, in the runtime directory
    :raises StorageError: when it holds what is not ours, or cannot be written
    """
    # In the runtime directory nobody else has ever made anything.
    foreign = _unknown if path is None else _foreign
    kind = Kind("keeper", "the directory of a keeper", foreign, found_by_name=True)
    with OwnDirectory(path or runtime_directory() / name, kind) as own:
        return own.path


def remove_work_directory(path: Path) -> None:
    """Remove what a keeper has left in its directory, and that itself if it holds nothing else."""
    with suppress(OSError):
        for name in _FILES:
            (path / name).unlink(missing_ok=True)
        if [each.name for each in path.iterdir()] == [MARK]:
            shutil.rmtree(path / MARK)
            path.rmdir()


def all_keepers() -> list[Path]:
    """Return the keeper.json of each keeper in the runtime directory that lives, by name."""
    found = sorted(runtime_directory().glob(f"*/{KEEPER_JSON}"))
    return [path for path in found if _lives(path)]


def _lives(path: Path) -> bool:
    """Return whether a keeper lives; what is no keeper.json hides none of the others."""
    try:
        return is_alive(read_keeper(path))
    except TidemarkError as error:
        log.warning("%s", error)
        return False


def ended_keepers() -> list[dict[str, Any]]:
    """Return the keepers in the runtime directory that have ended, and were not released: why."""
    return [
        {
            "name": keeper["workload"],
            "pid": keeper["pid"],
            "why": end_of(path.parent) or f"{path.parent}/keeper.log may say why",
        }
        for path, keeper in _ended()
    ]


def _ended() -> Iterator[tuple[Path, KeeperRecord]]:
    for path in sorted(runtime_directory().glob(f"*/{KEEPER_JSON}")):
        with suppress(TidemarkError):  # which was said where the living ones were looked for
            keeper = read_keeper(path)
            if not is_alive(keeper):
                yield path, keeper


def forget_ended(target: str | None) -> str | None:
    """Tell no more of a keeper that has ended; return why it has, None where there is no such."""
    for path, _ in _ended():
        if target in _names(path):
            path.unlink(missing_ok=True)
            return end_of(path.parent) or "nobody has said why"
    return None


def find_keeper(target: str | None) -> Path:
    """Return the keeper.json of a keeper: ``target`` is its directory, its name or a process id.

    Without one there must be just one keeper.

    :raises KeeperError: when there is none, or more
    """
    if target is not None and _is_named(Path(target) / KEEPER_JSON, target):
        return Path(target) / KEEPER_JSON
    keepers = all_keepers()
    if target is not None:
        keepers = [path for path in keepers if target in _names(path)]
    if len(keepers) == 1:
        return keepers[0]
    if not keepers:
        raise KeeperError(
            f"nothing keeps {target}; see `tidemark status`, or start with `tidemark keep`"
            if target
            else "there is no keeper; start one with `tidemark keep`"
        )
    names = ", ".join(path.parent.name for path in keepers)
    raise KeeperError(f"there are {len(keepers)} keepers ({names}); say which")


def _is_named(path: Path, target: str) -> bool:
    """Return whether a directory has a keeper; one of another user only if it is named by a path.

    Else somebody could put one here under the name of another.
    """
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and (os.sep in target or status.st_uid == os.geteuid())


def _names(path: Path) -> set[str]:
    return {path.parent.name, str(read_keeper(path)["root"])}


def connect(keeper_json: Path) -> Client:
    """Return a connection to a keeper.

    :raises KeeperError: when it is gone
    """
    return Client(keeper_json, remedy=REMEDY)


def end(keeper: KeeperRecord, *, stop: bool) -> None:
    """Have a keeper end, and wait for that; what it keeps runs on as before.

    :param stop: have the program end, too, which it has started
    """
    with _process(keeper["root"] if stop else None) as program:
        with _process(keeper["pid"]) as process:
            if process is not None and is_alive(keeper):
                signal.pidfd_send_signal(process, signal.SIGTERM)
                readable(_ENDING_SECONDS, process)
        if program is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(program, signal.SIGTERM)


@contextmanager
def _process(pid: int | None) -> Iterator[int | None]:
    """Give a descriptor of a process; None where there is none."""
    try:
        descriptor = None if pid is None else os.pidfd_open(pid)
    except ProcessLookupError:
        descriptor = None
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def status_of(keeper_json: Path) -> dict[str, Any]:
    """Return what a keeper says of itself, and where it is.

    :raises KeeperError: when it is gone
    """
    keeper = read_keeper(keeper_json)
    with connect(keeper_json) as client:
        answer, _ = client.ask("status")
    return {
        "name": keeper["workload"],
        "pid": keeper["pid"],
        "directory": str(keeper_json.parent.absolute()),
        "socket": str(keeper_json.parent.absolute() / keeper["socket"]),
        "tracker": answer["tracker"],
        "processes": answer["processes"],
        "untracked": answer["untracked"],
        "checkpoints": answer["checkpoints"],
        "parent": answer["parent"] and answer["parent"]["path"],
    }
