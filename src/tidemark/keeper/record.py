"""keeper.json: where a keeper is, and how it is known that it still runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from tidemark.bounded import SMALL, DecodingError, parse_json, read_regular
from tidemark.errors import TidemarkError
from tidemark.fields import FieldError, Fields
from tidemark.files import SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

_LAST_PROCESS = 1 << 22
_NAME = 255


class KeeperRecord(TypedDict):
    """What a keeper says of itself when it begins; ``start_time`` as in :mod:`tidemark.proc`."""

    pid: int
    start_time: int
    owner: int | None
    owner_start_time: int | None
    node: str
    batch_job: str | None
    socket: str
    life: str
    workload: str
    root: int
    tracker: str
    tracker_reason: str


def read_keeper(path: Path) -> KeeperRecord:
    """Return what stands in a keeper.json.

    :raises TidemarkError: when it is missing, damaged, or says what no keeper does
    """
    try:
        fields = Fields.of(parse_json(read_regular(path, SMALL.bytes), SMALL))
        fields.expect("schema", SCHEMA)
        return keeper_record(fields)
    except FileNotFoundError:
        raise TidemarkError(f"{path} is missing; keep the workload again") from None
    except (DecodingError, FieldError) as error:
        raise TidemarkError(f"{path} {error}; remove it and start another keeper") from error
    except OSError as error:
        raise TidemarkError(f"{path} cannot be read: {error.strerror}") from error


def keeper_record(fields: Fields) -> KeeperRecord:
    """Return what a keeper says of itself.

    :raises FieldError: when no keeper says so
    """
    return KeeperRecord(
        pid=_process(fields, "pid"),
        start_time=fields.whole("start_time"),
        owner=_process(fields, "owner") if fields.has("owner") else None,
        owner_start_time=fields.optional_whole("owner_start_time"),
        node=fields.exact("node", _NAME),
        batch_job=fields.exact("batch_job", _NAME) if fields.has("batch_job") else None,
        socket=_file_name(fields, "socket"),
        life=fields.exact("life", _NAME),
        workload=fields.exact("workload"),
        root=_process(fields, "root"),
        tracker=fields.exact("tracker", _NAME),
        tracker_reason=fields.exact("tracker_reason"),
    )


def _process(fields: Fields, key: str) -> int:
    number = fields.whole(key, _LAST_PROCESS)
    if number == 0:  # of kill(2) it would be our own group
        raise FieldError(f"holds `{key}` that is not a process id")
    return number


def _file_name(fields: Fields, key: str) -> str:
    name = fields.exact(key, _NAME)
    if not name or "/" in name or "\0" in name:  # a connection to it stays in this directory
        raise FieldError(f"holds `{key}` that is not the name of a file")
    return name
