"""What clients may ask a keeper for: one schema, and one decoder with limits.

A request is one JSON object, flat, of at most 64 KiB. What does not fit the schema is refused with
a sentence, and nothing of it is looked at any further.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, fields
from typing import Any, NoReturn

from tidemark.errors import KeeperError

MOST_BYTES = 1 << 16
"""A request is a few words and a path."""

_MOST_NUMBER = 1 << 62
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Status:
    """What the keeper keeps, and how."""


@dataclass(frozen=True)
class Stop:
    """Let the keeper end."""


@dataclass(frozen=True)
class Seal:
    """End the epochs."""


@dataclass(frozen=True)
class Clear:
    """Begin an epoch."""

    epoch: int


@dataclass(frozen=True)
class Advance:
    """Let the workload run for an epoch."""

    epoch: int


@dataclass(frozen=True)
class Collect:
    """End an epoch."""

    epoch: int


@dataclass(frozen=True)
class Open:
    """Hand out how the regions are read."""

    epoch: int


@dataclass(frozen=True)
class TakeCheckpoint:
    """Take a checkpoint, and copy no more than ``most_bytes`` for it."""

    full: bool
    most_bytes: int


@dataclass(frozen=True)
class Writing:
    """The last checkpoint is still being written by this client.

    :raises KeeperError: as its answer, where it is not this client's any more
    """


@dataclass(frozen=True)
class Save:
    """The last checkpoint is the image at ``path``, whose manifest has a hash."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Leave:
    """The last checkpoint is not going to be saved."""


@dataclass(frozen=True)
class Release:
    """Keep the workload no more, and ``stop`` it or let it run on."""

    stop: bool


EpochStep = Clear | Advance | Collect | Open
CheckpointStep = TakeCheckpoint | Writing | Save | Leave | Release
Request = Status | Stop | Seal | EpochStep | CheckpointStep

_KINDS: dict[str, type[Request]] = {
    "status": Status,
    "stop": Stop,
    "seal": Seal,
    "clear": Clear,
    "advance": Advance,
    "collect": Collect,
    "open": Open,
    "checkpoint": TakeCheckpoint,
    "writing": Writing,
    "save": Save,
    "leave": Leave,
    "release": Release,
}
_TYPES: dict[str, type] = {"int": int, "bool": bool, "str": str}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def name_of(request: Request) -> str:
    """Return what a client says to ask for this."""
    return _NAMES[type(request)]


def decode(text: bytes | bytearray | None) -> Request:
    """Return the request that a message asks for; None is one that is longer than any may be.

    :raises KeeperError: when it is none; the message says what is wrong with it
    """
    if text is None:
        raise _wrong(f"it is of more than {MOST_BYTES} bytes, or comes with descriptors")
    bare = _STRINGS.sub(b"", text)
    if bare.count(b"{") != 1 or b"[" in bare:
        raise _wrong("it is not one flat object")
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_refuse)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"it is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise _wrong("it is no object")
    return _request(value)


def _request(value: dict[str, Any]) -> Request:
    step = value.pop("step", None)
    kind = _KINDS.get(step) if isinstance(step, str) else None
    if kind is None:
        shown = f"{step!r:.40}"
        raise KeeperError(f"there is no step {shown}; the client is of another version")
    wanted = {field.name: _TYPES[str(field.type)] for field in fields(kind)}
    for name in wanted.keys() | value.keys():
        _check(f"step {step}", name, wanted.get(name), value.get(name))
    return kind(**value)


def _check(step: str, name: str, wanted: type | None, found: object) -> None:
    if wanted is None:
        raise _wrong(f"{step} takes no {name!r:.40}")
    if type(found) is not wanted:  # True is no number here
        raise _wrong(f"{step} takes {name} as {wanted.__name__}, and got {found!r:.40}")
    if isinstance(found, int) and not 0 <= found <= _MOST_NUMBER:
        raise _wrong(f"{step} takes no {name} of {found!r:.40}")
    if isinstance(found, str):
        _check_text(step, name, found)


def _check_text(step: str, name: str, found: str) -> None:
    if name == "sha256" and not _DIGEST.match(found):
        raise _wrong(f"{step} takes a SHA-256 as {name}, and got {found!r:.40}")
    try:
        named = b"\0" not in os.fsencode(found)
    except UnicodeEncodeError:
        named = False
    if not named:
        raise _wrong(f"{step} takes no {name} of {found!r:.40}")


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word:.40} is no number that is asked for")


def _wrong(what: str) -> KeeperError:
    return KeeperError(f"the request is not understood: {what}; the client is of another version")
