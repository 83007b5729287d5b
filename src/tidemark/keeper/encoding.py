"""JSON of any size, made piece by piece: who waits for the keeper is let go in between."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_ITEMS = 4096
"""So many numbers are turned into text within a millisecond."""


def pieces(value: Any) -> Iterator[str]:
    """Yield the JSON of a value in pieces, each made in about a millisecond at most."""
    if isinstance(value, dict) and value:
        yield from _pieces_of_object(value)
    elif isinstance(value, list | tuple) and value:
        yield from _pieces_of_list(value)
    else:
        yield json.dumps(value)


def _pieces_of_object(value: dict[str, Any]) -> Iterator[str]:
    if not any(isinstance(item, dict | list | tuple) for item in value.values()):
        yield json.dumps(value)
        return
    mark = "{"
    for name, item in value.items():
        yield f"{mark}{json.dumps(name)}:"
        yield from pieces(item)
        mark = ","
    yield "}"


def _pieces_of_list(value: list[Any] | tuple[Any, ...]) -> Iterator[str]:
    flat = not isinstance(value[0], dict | list | tuple)
    mark = "["
    for first in range(0, len(value), _ITEMS) if flat else range(len(value)):
        yield mark
        if flat:
            yield json.dumps(value[first : first + _ITEMS])[1:-1]
        else:
            yield from pieces(value[first])
        mark = ","
    yield "]"
