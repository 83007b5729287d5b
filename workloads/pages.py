"""Pages that say what they are: content made from a seed, the page's number and a version."""

import mmap
import random
import struct
import zlib

PAGE = mmap.PAGESIZE
_IDENTITY = struct.Struct("=QQ")  # page, version
_CHECKSUM = struct.Struct("=I")
_HEAD = _IDENTITY.size + _CHECKSUM.size


def stamp(seed: int, page: int, version: int) -> bytes:
    """Return the content of a page at a version."""
    identity = _IDENTITY.pack(page, version)
    payload = generator(seed, page, version).randbytes(PAGE - _HEAD)
    return identity + _CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(identity))) + payload


def sound(content: bytes, page: int) -> bool:
    """Tell whether content is a whole stamp of this page, of whichever version."""
    identity, payload = content[: _IDENTITY.size], content[_HEAD:]
    (checksum,) = _CHECKSUM.unpack_from(content, _IDENTITY.size)
    number, _ = _IDENTITY.unpack(identity)
    return (number, checksum) == (page, zlib.crc32(payload, zlib.crc32(identity)))


def generator(seed: int, *labels: int) -> random.Random:
    """Return a generator that gives the same for the same seed and labels, in every process."""
    number = seed
    for label in labels:
        number = (number << 64) | label
    return random.Random(number)


def span(page: int) -> slice:
    """Return where a page lies in its region."""
    return slice(page * PAGE, (page + 1) * PAGE)
