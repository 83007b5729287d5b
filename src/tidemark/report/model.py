"""What a results directory says, as frozen records.

Seconds are seconds, sizes are bytes, and everything else that counts counts
pages. None stands for a file that is missing or damaged; the notices say which.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidemark.unsaved import Unsaved


@dataclass(frozen=True)
class Advance:
    """advance.json: what ran, and for how long."""

    quantum: str
    steps: int | None
    running_seconds: float
    freeze_seconds: float
    processes: dict[str, int]
    command: tuple[str, ...] | None
    command_exit: int | None


@dataclass(frozen=True)
class RegionCounts:
    """One region of bitmap.pb, counted from the bitmaps themselves."""

    number: int
    kind: str
    pages: int
    known: bool
    used: int
    dirty: int
    suspect: int
    reasons: dict[str, int]


@dataclass(frozen=True)
class RegionDump:
    """One region of manifest.json."""

    number: int
    full: bool
    full_reason: str | None
    present: int
    in_parent: int
    cleared: int
    settled: int
    settled_changed: int
    unchanged: int
    audited: int


@dataclass(frozen=True)
class Manifest:
    """manifest.json: what the dump holds. ``image_bytes`` counts the files that it lists.

    ``unsaved``: what the workload shared besides.
    """

    page_size: int
    tracker: str
    has_parent: bool
    image_bytes: int
    pages_bytes: int
    regions: tuple[RegionDump, ...]
    unsaved: tuple[Unsaved, ...] = ()


@dataclass(frozen=True)
class Verify:
    """verify.json: the restored pages against the truth.

    ``sharing_seen`` of ``sharing_of`` mappings saw a store that another process made. ``missing``:
    in words, the objects that are in no region; ``unjudged``: pages, and names of objects, of which
    the truth could not be known.
    """

    pages: int
    different: int
    changed: int
    dirty: int
    missed: int
    recall: float
    precision: float
    holders: int
    sharing_seen: int
    sharing_of: int
    missing: tuple[str, ...] = ()
    unjudged: int = 0
    unjudged_objects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cost:
    """cost/{step}.json: what one job took."""

    step: str
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class Epoch:
    """Everything about one epoch."""

    number: int
    armed_at: str | None = None
    clear_seconds: float | None = None
    advance: Advance | None = None
    bitmaps: tuple[RegionCounts, ...] | None = None
    manifest: Manifest | None = None
    verify: Verify | None = None
    frozen_seconds: float | None = None
    commands: tuple[str, ...] = ()
    mapped_by: dict[int, int] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    costs: tuple[Cost, ...] = ()


@dataclass(frozen=True)
class Machine:
    """Where a workload ran, from live.json."""

    kernel: str
    architecture: str
    cpus: int
    memory_bytes: int
    hostname: str
    python: str
    tidemark: str


@dataclass(frozen=True)
class Live:
    """live.json: one keeper's life, and how the workload ended."""

    tracker: str
    tracker_reason: str
    frozen_seconds: tuple[float, ...]
    ended: str
    check: tuple[str, ...] | None
    check_exit: int | None
    machine: Machine


@dataclass(frozen=True)
class Workload:
    """A workload: its epochs in order, and notices about what could not be read.

    ``unfinished``: why it did not get to its end.
    """

    name: str
    live: Live | None
    epochs: tuple[Epoch, ...]
    notices: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
