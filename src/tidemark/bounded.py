"""Reading what anybody may have written: bounded in size, depth and number, and never waiting.

What a file or a socket gives is refused before memory is taken for more than it can hold: a
sparse file of 64 GiB, a device, a pipe, a list of a million lists. What the values mean is the
business of :mod:`tidemark.fields`.
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TEXT = rb'"(?:[^"\\]++|\\.?)*+"?'
"""A text in JSON. It matches in time proportional to its length, whatever follows."""

_STRING = re.compile(_TEXT, re.DOTALL)
_PIECE = re.compile(rb'(?:[^"]*+%b){1,4096}+|[^"]++' % _TEXT, re.DOTALL)
"""Some texts and what is between them: to look for texts costs memory for each that is found."""

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_FEW = 1 << 17
_STEP_BYTES = 1 << 20

MOST_BYTES = (1 << 31) - 1
"""The longest protobuf message that there can be."""


class DecodingError(ValueError):
    """What was read is not what it should be; the message begins with a verb: "is too long"."""


@dataclass(frozen=True)
class Limits:
    """How much JSON is believed: bytes, nested lists and objects, and values in all."""

    bytes: int = 16 << 20
    depth: int = 16
    values: int = 1 << 20


SMALL = Limits(bytes=1 << 20, values=1 << 14)
"""For what holds a few names and numbers."""


def parse_json(content: bytes, limits: Limits) -> object:
    """Return what UTF-8 JSON says; memory is taken for no more than ``limits`` allow.

    :raises DecodingError: for what is no JSON, not finite, too long, too deep or too much
    """
    if len(content) > limits.bytes:
        raise DecodingError(f"is {len(content)} bytes long, and {limits.bytes} are believed")
    _verify_shape(content, limits)
    try:
        return json.loads(content.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise DecodingError(f"is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise DecodingError("is nested too deeply") from error
    except ValueError as error:
        raise DecodingError(f"is not JSON: {error}") from error


def read_regular(path: Path, most: int, *, text: bool = True) -> bytes:
    """Return the content of a regular file.

    Nothing else is opened, since a device may wait, or do something when it is opened. A file
    that grows meanwhile is read as far as it went. Of ``text`` no byte is zero, so that a sparse
    file is read no further than its first hole: it costs its owner what it costs us.

    :raises DecodingError: when it is no file, longer than ``most`` bytes, shrinks, or has a hole
    :raises OSError: when it is missing, or cannot be read
    """
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        if size > most:
            raise DecodingError(f"is {size} bytes long, and {most} are believed")
        return _read(descriptor, size, text=text)
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> int:
    """Return a new descriptor of a regular file, for reading; links are followed.

    :raises DecodingError: when it is anything but a file; then it was not opened
    :raises OSError: when it is missing, or may not be opened
    """
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise DecodingError("is not a file")
        # By its descriptor: under its name there may be something else by now.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        return os.open(f"/proc/self/fd/{place}", flags)
    finally:
        os.close(place)


def _read(descriptor: int, size: int, *, text: bool) -> bytes:
    content = bytearray()
    while len(content) < size:
        step = os.read(descriptor, min(_STEP_BYTES, size - len(content)))
        if not step:
            raise DecodingError(f"ends after {len(content)} of its {size} bytes")
        if text and 0 in step:
            raise DecodingError(f"holds a zero byte, at {len(content) + step.index(0)}")
        content += step
    return bytes(content)


def _verify_shape(content: bytes, limits: Limits) -> None:
    """Refuse what is too deep, or too much, before it is made into objects."""
    opened = content.count(b"[") + content.count(b"{")
    if opened <= limits.depth and opened + content.count(b",") < limits.values:
        return
    values, brackets = 1, bytearray()
    for bare in _without_texts(content):
        # Each value but the first of a list or an object stands behind a comma.
        values += bare.count(b",") + bare.count(b"[") + bare.count(b"{")
        if values > limits.values:
            raise DecodingError(f"holds more than {limits.values} values")
        brackets += bare.translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(limits.depth):
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise DecodingError(f"is nested more than {limits.depth} deep, or its brackets differ")


def _without_texts(content: bytes) -> Iterator[bytes]:
    if content.count(b'"') < _FEW and b"\\" not in content:
        yield b" ".join(content.split(b'"')[::2])  # as below, and much quicker
        return
    for piece in _PIECE.finditer(content):
        yield _STRING.sub(b"", piece[0])


def _refuse_constant(name: str) -> NoReturn:
    raise DecodingError(f"holds the number {name}")
