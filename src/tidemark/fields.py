"""Typed reading of JSON that may be damaged, or meant to do harm.

Every accessor raises :class:`FieldError` with a sentence that names the key, so that a damaged
file becomes one sentence and not a traceback. :func:`tidemark.bounded.parse_json` reads the JSON.
"""

from __future__ import annotations

from base64 import b64decode
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemark.errors import TidemarkError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


LARGEST = 1 << 47
"""What is believed of a count or of bytes: an address space, 128 TiB. Sums of it fit Parquet."""

LONGEST = 1 << 16
"""How many characters of a text are believed, where nothing else is said."""


class FieldError(ValueError):
    """A key is missing, or what it holds is not what the contract says."""


@contextmanager
def believed(path: Path, remedy: str) -> Iterator[None]:
    """Turn what goes wrong with the values of a file into one sentence.

    For what steps leave to each other, many numbers of which are looked at where they are used.

    :raises TidemarkError: when something does
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise TidemarkError(f"{path} is damaged ({error!r:.100}); {remedy}") from error


@dataclass(frozen=True)
class Fields:
    """One JSON object; ``where`` is its place in the file, with a final dot."""

    value: Mapping[str, object]
    where: str = ""

    @classmethod
    def of(cls, value: object) -> Fields:
        """Return the fields of what was parsed.

        :raises FieldError: when it is no object
        """
        if not isinstance(value, dict):
            raise FieldError("holds something else than an object")
        return cls(value)

    def _get(self, key: str) -> object:
        if key not in self.value:
            raise FieldError(f"lacks `{self.where}{key}`")
        return self.value[key]

    def _wrong(self, key: str, what: str) -> FieldError:
        return FieldError(f"holds `{self.where}{key}` that is not {what}")

    def has(self, key: str) -> bool:
        """Return whether the key is there, and not null."""
        return self.value.get(key) is not None

    def expect(self, key: str, wanted: object) -> None:
        """Raise :class:`FieldError` unless ``key`` is ``wanted``: a file of another epoch, say."""
        if self._get(key) != wanted:
            shown = _shown(self.value[key])
            raise FieldError(f"says `{self.where}{key}` is {shown}, not {wanted!r}")

    def number(self, key: str, most: int = LARGEST - 1) -> float:
        """Return a number from 0 to ``most``."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(key, "a number")
        if not 0 <= value <= most:  # NaN is not, either
            raise self._wrong(key, "a number from 0 on that can be")
        return value

    def whole(self, key: str, most: int = LARGEST - 1) -> int:
        """Return a whole number from 0 to ``most``."""
        value = self.number(key, most)
        if not isinstance(value, int):
            raise self._wrong(key, "a whole number")
        return value

    def page_size(self, key: str) -> int:
        """Return a size of pages, in bytes: a power of two that some machine has."""
        value = self.whole(key)
        if value not in {1 << power for power in range(12, 17)}:
            raise self._wrong(key, "a size of pages")
        return value

    def optional_whole(self, key: str) -> int | None:
        """Return a whole number of either sign, or None where the key is null or absent."""
        value = self.value.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, "a whole number")
        return value

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self._get(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def exact(self, key: str, most: int = LONGEST) -> str:
        """Return a string of up to ``most`` characters as it is: a path may hold any bytes."""
        value = self._get(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        if len(value) > most:
            raise self._wrong(key, f"a text of up to {most} characters")
        return value

    def base64(self, key: str) -> bytes:
        """Return the bytes that a text stands for."""
        text = self.exact(key, LARGEST)
        try:
            return b64decode(text, validate=True)
        except ValueError as error:
            raise self._wrong(key, "base64") from error

    def text(self, key: str, most: int = LONGEST) -> str:
        """Return a string of up to ``most`` characters that can be encoded."""
        return _printable(self.exact(key, most))

    def optional_text(self, key: str, most: int = LONGEST) -> str | None:
        """Return a string, or None where the key is null or absent."""
        return None if self.value.get(key) is None else self.text(key, most)

    def group(self, key: str) -> Fields:
        """Return an object inside this one."""
        value = self._get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return Fields(value, f"{self.where}{key}.")

    def optional_group(self, key: str) -> Fields | None:
        """Return an object inside this one, or None where the key is null or absent."""
        return None if self.value.get(key) is None else self.group(key)

    def groups(self, key: str, most: int = LARGEST) -> list[Fields]:
        """Return a list of up to ``most`` objects inside this one."""
        items = self._list(key, most)
        if not all(isinstance(item, dict) for item in items):
            raise self._wrong(key, "a list of objects")
        return [
            Fields(item, f"{self.where}{key}[{index}].")
            for index, item in enumerate(items)
            if isinstance(item, dict)
        ]

    def optional_groups(self, key: str) -> list[Fields]:
        """Return a list of objects inside this one; none where the key is null or absent."""
        return [] if self.value.get(key) is None else self.groups(key)

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return a list of numbers that are finite and not negative."""
        inner = self._items(key)
        return tuple(inner.number(index) for index in inner.value)

    def list_of_wholes(self, key: str, most: int = LARGEST - 1) -> tuple[int, ...]:
        """Return a list of whole numbers from 0 to ``most``."""
        inner = self._items(key)
        return tuple(inner.whole(index, most) for index in inner.value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list, each item as text: an argv may hold numbers."""
        return tuple(_printable(_shown_item(item)) for item in self._list(key))

    def wholes(self) -> dict[str, int]:
        """Return this object as whole numbers by key, in the order of the keys."""
        return {key: self.whole(key) for key in sorted(self.value)}

    def _items(self, key: str) -> Fields:
        named = {str(index): item for index, item in enumerate(self._list(key))}
        return Fields(named, f"{self.where}{key}.")

    def _list(self, key: str, most: int = LARGEST) -> list[object]:
        value = self._get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        if len(value) > most:
            raise self._wrong(key, f"a list of up to {most}")
        return value


def _shown(value: object) -> str:
    """Return a value for a sentence; what is nested may be of any depth, and is not shown."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return f"{value!r:.60}"


def _shown_item(value: object) -> str:
    return _shown(value) if isinstance(value, dict | list) else str(value)


def _printable(text: str) -> str:
    """Return ``text`` with what is not Unicode escaped: a command line may hold any bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
