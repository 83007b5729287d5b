"""Page content of prefork.py: every word tells who wrote it, and can be checked by itself.

The upper half of a word is the writer's serial number, the lower half follows from that number, the
page and the word's place. So a page that a writer left half written is told from a damaged one.
"""

import struct
from array import array

from pages import PAGE

WORDS = PAGE // 8
_STRIDE = (1 << 31) // WORDS - 1  # between neighbouring words: the last stays within its half
_LOW = (1 << 31) - 1
_HIGH = 1 << 32


def imprint(serial: int, page: int) -> bytes:
    """Return the page that a writer leaves behind when it is not disturbed."""
    first = _word(serial, page, 0)
    return array("Q", range(first, first + WORDS * _STRIDE, _STRIDE)).tobytes()


def writers(content: bytes, page: int) -> set[int] | None:
    """Return the serial numbers of all who wrote parts of a page; none if somebody else did."""
    (word,) = struct.unpack_from("=Q", content)
    if content == imprint(word // _HIGH, page):
        return {word // _HIGH}
    words = array("Q", content)
    if any(word != _word(word // _HIGH, page, place) for place, word in enumerate(words)):
        return None
    return {word // _HIGH for word in words}


def _word(serial: int, page: int, place: int) -> int:
    mixed = serial * 0x9E3779B1 ^ page * 0x85EBCA77
    return serial * _HIGH + (mixed & _LOW) + place * _STRIDE
