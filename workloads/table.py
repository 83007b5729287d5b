"""The hash table of kv.py: slots in shared memory, one writer, readers that detect torn reads.

A slot holds a version, a key, the writer's token, a length, a checksum over all of these, and the
value. The version is odd while the slot is being written. A value follows from its key and token,
and the versions add up to the number of writes in the header: so the table can be checked from
its own content alone.
"""

import hashlib
import mmap
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from program import Damage

SLOT = 256
HEADER = mmap.PAGESIZE  # of which the first word counts the writes
_WORDS = struct.Struct("=QQQII")  # version, key, token, length of the value, checksum
_SPREAD = 0x9E3779B97F4A7C15  # spreads keys over the slots (Fibonacci hashing)
VALUE_MOST = SLOT - _WORDS.size


class Slot(NamedTuple):
    """One slot as it was read."""

    version: int
    key: int
    token: int
    length: int
    checksum: int
    value: bytes

    @property
    def sound(self) -> bool:
        """Whether all of it is of one write."""
        words = (self.version, self.key, self.token)
        return self.version % 2 == 0 and self.checksum == _checksum(*words, self.value)


def value(key: int, token: int) -> bytes:
    """Return the value that a writer's token stands for."""
    block = hashlib.sha256(struct.pack("=QQ", key, token)).digest()
    return (block * (VALUE_MOST // len(block)))[: VALUE_MOST // 4 + block[0] % 128]


class Table:
    """The slots; keys are found by linear probing from their place. Key 0 is an empty slot."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._memory = mmap.mmap(-1, HEADER + slots * SLOT)
        # Words are stored in one instruction each, which a slice of bytes would not promise.
        self._words = memoryview(self._memory).cast("Q")

    @property
    def writes(self) -> int:
        """How many writes there were."""
        return self._words[0]

    def find(self, key: int) -> int:
        """Return the slot that holds a key, or the empty one where it belongs."""
        first = key * _SPREAD >> 32
        for slot in (place % self.slots for place in range(first, first + self.slots)):
            if self._words[_word(slot) + 1] in (0, key):
                return slot
        raise Damage(f"No slot holds key {key}, nor is one empty.")

    def write(self, key: int, token: int, content: bytes) -> None:
        """Store a value; only the server does."""
        slot = self.find(key)
        word, start = _word(slot), HEADER + slot * SLOT
        if self._words[word] % 2:
            raise Damage(f"Slot {slot} is being written, and not by the server.")
        version = self._words[word] + 2
        checksum = _checksum(version, key, token, content)
        record = _WORDS.pack(version, key, token, len(content), checksum) + content
        self._words[word] = version - 1
        self._memory[start + 8 : start + len(record)] = record[8:]
        self._words[word] = version
        self._words[0] += 1

    def read(self, slot: int, pause: Callable[[], None]) -> Slot:
        """Return what a slot holds, however often it must be read to see all of one write.

        In a `pause` there is a moment at which nothing is being written.
        """
        before = None
        while not (found := self._load(slot)).sound:
            if found == before:  # so no write was in progress when it was read
                raise Damage(f"Slot {slot} does not match its checksum.")
            before = found
            pause()
        return found

    def check(self, keys: range) -> None:
        """See that the table holds these keys, with whole values, and as many writes as it says."""
        found = [self._load(slot) for slot in range(self.slots)]
        held = {slot: content for slot, content in enumerate(found) if content.key}
        for slot, content in held.items():
            if not content.sound or content.value != value(content.key, content.token):
                raise Damage(f"Slot {slot} does not match its checksum.")
        if sorted(content.key for content in held.values()) != list(keys):
            raise Damage("The table does not hold the keys that were stored.")
        if sum(content.version for content in held.values()) != 2 * self.writes:
            raise Damage(f"The versions do not add up to {self.writes} writes.")

    def _load(self, slot: int) -> Slot:
        start = HEADER + slot * SLOT
        raw = self._memory[start : start + SLOT]
        version, key, token, length, checksum = _WORDS.unpack_from(raw)
        return Slot(version, key, token, length, checksum, raw[_WORDS.size :][:length])


def _word(slot: int) -> int:
    return (HEADER + slot * SLOT) // 8


def _checksum(version: int, key: int, token: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(struct.pack("=QQQ", version, key, token)))
