"""What processes map shared and writable, and is not saved: nothing is left out silently."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tidemark.unsaved import UNKNOWN, Unsaved

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tidemark.keeper.objects import Identity, Mapping

_PROT_WRITE = 2
_NUMBERED = re.compile(r"(?<=^socket):\[\d+\]$|(?<=/#)\d+$")
"""The kernel calls a socket, and a file made without a name (O_TMPFILE), by its inode's number,
which is another one in each run.
"""


def left_out(mapped: Iterable[tuple[int, Iterable[Mapping]]]) -> list[Unsaved]:
    """Return the objects that are not tracked, each once, in an order that is that of every run.

    Of what may be shared memory, mappings that cannot be written count, too: another process may
    write it.

    :param mapped: by the number of a process, what it maps
    """
    found: dict[tuple[Identity, str], list[tuple[int, Mapping]]] = {}
    for number, mappings in mapped:
        for mapping in mappings:
            counts = mapping.protection & _PROT_WRITE or mapping.kind == UNKNOWN
            if counts and not mapping.tracked:
                key = mapping.identity, mapping.name
                found.setdefault(key, []).append((number, mapping))
    return sorted(_listed(views) for views in found.values())


def _listed(views: list[tuple[int, Mapping]]) -> Unsaved:
    _, first = views[0]
    shown: dict[int, int] = {}
    for number, mapping in views:
        shown[number] = shown.get(number, 0) + mapping.end - mapping.start
    return Unsaved(
        kind=first.kind,
        name=_NUMBERED.sub("", first.name),
        bytes=max(shown.values()) if first.length is None else first.length,
        processes=tuple(sorted(shown)),
    )
