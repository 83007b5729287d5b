"""What a workload shares and no dump of ours holds: files, devices, and what is not known."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

UNKNOWN = "unknown"
"""The kind of an object of which nobody could say whether it is shared memory."""

_PLURALS = {
    "file": "files",
    "ramfs file": "ramfs files",
    "device": "devices",
    "socket": "sockets",
    "dma-buf": "dma-bufs",
    "secret memory": "pieces of secret memory",
    "kernel object": "kernel objects",
    UNKNOWN: "unknown objects",
}


@dataclass(frozen=True, order=True)
class Unsaved:
    """One object that processes map shared and writable, and that is not tracked.

    ``bytes``: its length, or, of what is no file, the most that a process maps of it;
    ``processes``: the numbers of those that map it, ascending.
    """

    kind: str
    name: str
    bytes: int
    processes: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as manifest.json has it."""
        return asdict(self) | {"processes": list(self.processes)}

    def __str__(self) -> str:
        one = len(self.processes) == 1
        who = ", ".join(map(str, self.processes))
        mapped = f"mapped by process{'' if one else 'es'} {who}"
        return f"{self.kind} {self.name or 'without a name'} ({self.bytes} bytes, {mapped})"


def phrase_of(kinds: Iterable[str]) -> str:
    """Return how many objects of which kinds, in words: 2 files, 1 device; empty for none."""
    counted = sorted(Counter(kinds).items())
    return ", ".join(f"{count} {kind if count == 1 else _plural(kind)}" for kind, count in counted)


def _plural(kind: str) -> str:
    return _PLURALS.get(kind, f"{kind} objects")


def list_of(value: Sequence[dict[str, Any]]) -> tuple[Unsaved, ...]:
    """Return what :meth:`Unsaved.to_json` gave of several."""
    return tuple(Unsaved(**one | {"processes": tuple(one["processes"])}) for one in value)
