"""The framing of CRIU's files: a magic, then messages with their lengths before them."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, BinaryIO

from tidemark.bounded import DecodingError, open_regular
from tidemark.errors import ImageError
from tidemark.fields import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REMEDY = "copy the dump again from where it is whole, or make it anew"
COMMON_MAGIC = 0x54564319
MESSAGE_BYTES = 1 << 16
"""The longest message that is believed. CRIU's own, of the kinds read here, take under 1 KiB."""
_WORD = Struct("<I")
_REMEDIES = {
    errno.EACCES: "read it as a user who may",
    errno.EMFILE: "allow more open files with `ulimit -n`",
    errno.ENFILE: "end some programs: the machine has too many open files",
}


@dataclass(frozen=True)
class FileKind:
    """How files of one kind begin: with their magic, behind the common one or (``bare``) alone."""

    magic: int
    bare: bool


INVENTORY = FileKind(0x58313116, bare=True)
PAGEMAP = FileKind(0x56084025, bare=False)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn a failure to read ``path`` into one sentence.

    :raises ImageError: for a file that is missing, forbidden, unreadable or nonsense
    """
    try:
        yield
    except FileNotFoundError:
        raise ImageError(f"{path} is missing; {REMEDY}") from None
    except (DecodingError, FieldError) as error:
        raise ImageError(f"{path} {error}; {REMEDY}") from error
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, REMEDY)
        raise ImageError(f"{path} cannot be read ({error.strerror}); {remedy}") from error


def file_size(path: Path) -> int:
    """Return the size of a regular file in bytes.

    :raises ImageError: when it is missing, or is anything but a file
    """
    with reading(path):
        status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path} is not a file; {REMEDY}")
    return status.st_size


def open_file(path: Path) -> int:
    """Return a new descriptor of a regular file, for reading.

    :raises ImageError: when it is missing, unreadable, or anything but a file
    """
    with reading(path):
        return open_regular(path)


def read_messages(path: Path, kind: FileKind) -> Iterator[bytes]:
    """Yield the messages of a file, none of them longer than what the file has left.

    :raises ImageError: when the file is missing, unreadable, of another kind, or cut
    """
    with reading(path), os.fdopen(open_file(path), "rb") as file:
        left = os.fstat(file.fileno()).st_size - _skip_magic(file, path, kind)
        while left:
            size = _message_size(file, path, left)
            left -= _WORD.size + size
            yield _read(file, path, size)


def _skip_magic(file: BinaryIO, path: Path, kind: FileKind) -> int:
    magic = _word(file, path)
    words = 1
    if magic == COMMON_MAGIC and not kind.bare:
        magic = _word(file, path)
        words = 2
    if magic != kind.magic:
        raise ImageError(f"{path} begins with {magic:#010x}, not {kind.magic:#010x}; {REMEDY}")
    return words * _WORD.size


def _message_size(file: BinaryIO, path: Path, left: int) -> int:
    if left < _WORD.size:
        raise ImageError(f"{path} ends within a length; {REMEDY}")
    size = _word(file, path)
    if size > min(left - _WORD.size, MESSAGE_BYTES):
        raise ImageError(f"{path} holds a message of {size} bytes, which cannot be; {REMEDY}")
    return size


def _word(file: BinaryIO, path: Path) -> int:
    word: int = _WORD.unpack(_read(file, path, _WORD.size))[0]
    return word


def _read(file: BinaryIO, path: Path, size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise ImageError(f"{path} ends too early; {REMEDY}")
    return content


def frame(kind: FileKind) -> bytes:
    """Return how a new file of this kind begins."""
    return (b"" if kind.bare else _WORD.pack(COMMON_MAGIC)) + _WORD.pack(kind.magic)


def framed(message: bytes) -> bytes:
    """Return a serialized message with its length before it."""
    return _WORD.pack(len(message)) + message
