"""Parsing and making CRIU's protobuf messages. Importing this costs what protobuf costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from tidemark.errors import ImageError
from tidemark.image.framing import REMEDY, framed

if TYPE_CHECKING:
    from pathlib import Path

_M = TypeVar("_M", bound=Message)


def parse(kind: type[_M], message: bytes, path: Path) -> _M:
    """Return a message of ``kind``, unknown fields included.

    :raises ImageError: when it is damaged; ``path`` is for the sentence
    """
    try:
        parsed = kind.FromString(message)
    except DecodeError as error:
        raise ImageError(f"{path} holds a message that cannot be read; {REMEDY}") from error
    if not parsed.IsInitialized():
        raise ImageError(f"{path} holds a message that lacks a required field; {REMEDY}")
    return parsed


def parse_known(kind: type[_M], message: bytes, path: Path) -> _M:
    """Return a message of ``kind`` that has no field which ``kind`` lacks.

    Such a field may change what the others mean, as CRIU's compressed pages do.

    :raises ImageError: when it is damaged, or has unknown fields
    """
    parsed = parse(kind, message, path)
    unknown = UnknownFieldSet(parsed)
    if len(unknown):
        raise ImageError(
            f"{path} holds the unknown field {unknown[0].field_number}: it is damaged, or of a "
            f"CRIU that is newer than what this version reads; {REMEDY}"
        )
    return parsed


def serialize(message: Message) -> bytes:
    """Return a message with its length before it."""
    return framed(message.SerializeToString())
