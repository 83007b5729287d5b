"""Where keepers in the background are: one directory each, found by a name or a process id."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from tidemark.errors import KeeperError, StorageError
from tidemark.files import read_json, storage_errors
from tidemark.keeper.client import Client, is_alive
from tidemark.keeper.ending import end_of

KEEPER_JSON = "keeper.json"
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
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o22:
        raise StorageError(f"{path} is not this user's alone; remove it, or use --directory")
    return path


def _shared_base() -> str:
    return "/run" if os.getuid() == 0 and Path("/run").is_dir() else tempfile.gettempdir()


def all_keepers() -> list[Path]:
    """Return the keeper.json of each keeper in the runtime directory that lives, by name."""
    found = sorted(runtime_directory().glob(f"*/{KEEPER_JSON}"))
    return [path for path in found if is_alive(read_json(path))]


def ended_keepers() -> list[dict[str, Any]]:
    """Return the keepers in the runtime directory that have ended, and were not released: why."""
    found = []
    for path in sorted(runtime_directory().glob(f"*/{KEEPER_JSON}")):
        keeper = read_json(path)
        if not is_alive(keeper):
            why = end_of(path.parent) or f"{path.parent}/keeper.log may say why"
            found.append({"name": keeper["workload"], "pid": keeper["pid"], "why": why})
    return found


def forget_ended(target: str | None) -> str | None:
    """Tell no more of a keeper that has ended; return why it has, None where there is no such."""
    if target is None:
        return None
    for path in runtime_directory().glob(f"*/{KEEPER_JSON}"):
        if target in _names(path) and not is_alive(read_json(path)):
            path.unlink(missing_ok=True)
            return end_of(path.parent) or "nobody has said why"
    return None


def find_keeper(target: str | None) -> Path:
    """Return the keeper.json of a keeper: ``target`` is its directory, its name or a process id.

    Without one there must be just one keeper.

    :raises KeeperError: when there is none, or more
    """
    if target is not None and (Path(target) / KEEPER_JSON).is_file():
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


def _names(path: Path) -> set[str]:
    return {path.parent.name, str(read_json(path)["root"])}


def connect(keeper_json: Path) -> Client:
    """Return a connection to a keeper.

    :raises KeeperError: when it is gone
    """
    return Client(keeper_json, remedy=REMEDY)


def status_of(keeper_json: Path) -> dict[str, Any]:
    """Return what a keeper says of itself, and where it is.

    :raises KeeperError: when it is gone
    """
    keeper = read_json(keeper_json)
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
