"""Writing files so that they exist whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tidemark.bounded import DecodingError, Limits, parse_json, read_regular
from tidemark.errors import StorageError, TidemarkError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = 1

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
        case errno.ENOTDIR | errno.EEXIST:
            return "a file stands where a directory is needed; move it away"
        case _:
            return f"{error.strerror or error}"


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path``, make it durable, and rename it there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def dump_json(value: dict[str, Any]) -> bytes:
    """Return ``value`` as this project's JSON: sorted keys, a schema version, one final newline."""
    return json.dumps({"schema": SCHEMA, **value}, sort_keys=True, indent=1).encode() + b"\n"


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write ``value`` to ``path`` as JSON with a schema version, atomically."""
    write_bytes(path, dump_json(value))


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
