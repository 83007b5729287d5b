"""What is wrong in a config: where it stands, in which file, and in whose words."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection

Key: TypeAlias = tuple[str | int, ...]

LONGEST_SHOWN = 40


@dataclass(frozen=True)
class Mistake:
    """One mistake: the path of the key that it is about, and a sentence without its subject.

    ``source`` is the file at fault where that is known; otherwise it is the one that sets the key.
    """

    path: Key
    text: str
    source: str | None = None


def dotted(path: Key) -> str:
    """Return ``path`` as its author thinks of it: ``workloads.grid.run[1]``."""
    return "".join(map(_part, path)).removeprefix(".")


def _part(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part if part.isprintable() else repr(part)}"


def shown(value: object) -> str:
    """Return a value of a config as its author would recognise it."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            cut = value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}..."
            return f'"{cut}"' if cut.isprintable() else repr(cut)
        case list() | tuple():
            return "a list" if value else "an empty list"
        case dict():
            return "a mapping" if value else "an empty mapping"
        case _:
            return f"a {type(value).__name__}"


def quoted(names: Collection[str], last: str = "or") -> str:
    """Return names as ```a`, `b` or `c```."""
    *rest, final = [f"`{name}`" for name in names]
    return f"{', '.join(rest)} {last} {final}" if rest else final


def nearest(word: object, names: Collection[str]) -> str | None:
    """Return the name that ``word`` was probably meant to be."""
    by_lower = {name.lower(): name for name in names}
    near = get_close_matches(str(word).lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None
