"""Reading bitmap.pb: chunks of pages as Python integers, checked against the contract.

A bitmap is a dict from chunk index to an integer of 32,768 bits. Only chunks
with a set bit are there, so that a 64 GiB region with a thousand used pages
costs a few kilobytes; ``int.bit_count`` and ``|``, ``&`` do the work of a chunk at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from tidemark.bounded import MOST_BYTES, DecodingError, read_regular
from tidemark.fields import LARGEST
from tidemark.proto.tracking_pb2 import BitmapSet
from tidemark.report.model import RegionCounts

if TYPE_CHECKING:
    from pathlib import Path

    from tidemark.proto.tracking_pb2 import Bitmap, RegionBitmaps

CHUNK_PAGES = 32768
CHUNK_BYTES = CHUNK_PAGES // 8
Chunks = dict[int, int]


class BitmapError(ValueError):
    """A bitmap.pb is missing, is not one, or contradicts itself."""


@dataclass(frozen=True)
class RegionBits:
    """One region's bitmaps in one epoch."""

    number: int
    kind: str
    pages: int
    known: bool
    used: Chunks
    dirty: Chunks
    suspect: Chunks
    reasons: dict[str, int]


def load_bitmaps(path: Path, epoch: int) -> tuple[RegionBits, ...]:
    """Return the regions of a bitmap.pb, by number.

    :raises BitmapError: for a missing, damaged or foreign file
    """
    bitmaps = _parse(path)
    if bitmaps.schema != 1 or bitmaps.epoch != epoch:
        raise BitmapError(f"says schema {bitmaps.schema}, epoch {bitmaps.epoch}; not 1, {epoch}")
    regions = tuple(_region(region) for region in bitmaps.regions)
    numbers = [region.number for region in regions]
    if numbers != sorted(set(numbers)):
        raise BitmapError(f"lists its regions out of order: {numbers}")
    return regions


def _parse(path: Path) -> BitmapSet:
    try:
        return BitmapSet.FromString(read_regular(path, MOST_BYTES, text=False))
    except FileNotFoundError:
        raise BitmapError("is missing; run the step that writes it again") from None
    except DecodingError as error:
        raise BitmapError(f"{error}; remove it and run again") from error
    except (OSError, DecodeError) as error:
        raise BitmapError(f"cannot be read ({error}); remove it and run again") from error


def _region(message: RegionBitmaps) -> RegionBits:
    if message.pages >= LARGEST:
        raise BitmapError(f"has a region {message.number} of {message.pages} pages")
    region = RegionBits(
        number=message.number,
        kind=message.kind,
        pages=message.pages,
        known=message.known,
        used=_chunks(message.used, message, "used", message.used_count),
        dirty=_chunks(message.dirty, message, "dirty", message.dirty_count),
        suspect=_chunks(message.suspect, message, "suspect", message.suspect_count),
        reasons={entry.reason: entry.pages for entry in message.suspects_by_reason},
    )
    if total(intersection(region.dirty, region.suspect)):
        raise BitmapError(f"has pages of region {region.number} both dirty and suspect")
    return region


def _chunks(bitmap: Bitmap, region: RegionBitmaps, what: str, wanted: int) -> Chunks:
    where = f"region {region.number}, {what}"
    chunks: Chunks = {}
    for chunk in bitmap.chunks:
        if len(chunk.bits) != CHUNK_BYTES or chunk.index in chunks:
            raise BitmapError(f"has a bad chunk {chunk.index} ({where})")
        chunks[chunk.index] = int.from_bytes(chunk.bits, "little")
    end = max((i * CHUNK_PAGES + bits.bit_length() for i, bits in chunks.items()), default=0)
    if end > region.pages:
        raise BitmapError(f"has a page {end - 1} beyond the region's {region.pages} ({where})")
    if total(chunks) != wanted:
        raise BitmapError(f"says {wanted} pages where {total(chunks)} bits are set ({where})")
    return chunks


def total(chunks: Chunks) -> int:
    """Return the number of pages in a bitmap."""
    return sum(bits.bit_count() for bits in chunks.values())


def union(one: Chunks, other: Chunks) -> Chunks:
    """Return the pages of either bitmap."""
    return {i: one.get(i, 0) | other.get(i, 0) for i in one.keys() | other.keys()}


def intersection(one: Chunks, other: Chunks) -> Chunks:
    """Return the pages of both bitmaps."""
    return {i: one[i] & other[i] for i in one.keys() & other.keys()}


def difference(one: Chunks, other: Chunks) -> Chunks:
    """Return the pages of ``one`` that ``other`` lacks."""
    return {i: bits & ~other.get(i, 0) for i, bits in one.items()}


def region_counts(region: RegionBits) -> RegionCounts:
    """Return the counts that the tables show; the bitmaps themselves can go."""
    return RegionCounts(
        number=region.number,
        kind=region.kind,
        pages=region.pages,
        known=region.known,
        used=total(region.used),
        dirty=total(region.dirty),
        suspect=total(region.suspect),
        reasons=dict(sorted(region.reasons.items())),
    )
