"""Bitmaps and run lists as tracking.proto stores them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message

from tidemark.bounded import MOST_BYTES, DecodingError, read_regular
from tidemark.errors import TidemarkError
from tidemark.native.bitmap import Bitmap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tidemark.proto import tracking_pb2 as pb

SCHEMA = 1
M = TypeVar("M", bound=Message)


def put_bitmap(bitmap: Bitmap, message: pb.Bitmap) -> None:
    """Store a bitmap in a message."""
    message.pages = bitmap.pages
    for index, bits in bitmap.chunks():
        message.chunks.add(index=index, bits=bits)


def get_bitmap(message: pb.Bitmap) -> Bitmap:
    """Return the bitmap that a message holds.

    :raises ValueError: when a chunk has not 4096 bytes
    :raises IndexError: when a bit is beyond the end
    """
    bitmap = Bitmap(message.pages)
    for chunk in message.chunks:
        bitmap.load(chunk.index, chunk.bits)
    return bitmap


def bitmap_of(runs: Sequence[int], pages: int) -> Bitmap:
    """Return the bitmap of a flat run list: first page, count, first page, count, ...

    :raises IndexError: when a run is beyond ``pages``
    """
    return Bitmap(pages, zip(runs[::2], runs[1::2], strict=True))


def read_message(path: Path, message: M) -> M:
    """Fill ``message`` from a file and return it.

    :raises TidemarkError: when the file is missing or damaged
    """
    try:
        message.ParseFromString(read_regular(path, MOST_BYTES, text=False))
    except FileNotFoundError:
        raise TidemarkError(f"{path} is missing; run the step that writes it again") from None
    except DecodingError as error:
        raise TidemarkError(f"{path} {error}; remove it and run again") from error
    except OSError as error:
        raise TidemarkError(f"{path} cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise TidemarkError(f"{path} is damaged ({error}); remove it and run again") from error
    if getattr(message, "schema", None) != SCHEMA:
        raise TidemarkError(f"{path} is not of schema {SCHEMA}; remove it and run again")
    return message
