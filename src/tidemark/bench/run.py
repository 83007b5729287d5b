"""A run of the benchmark pipeline, as its raw samples tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemark.errors import TidemarkError
from tidemark.fields import believed
from tidemark.files import read_json

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """One comparison of a run.

    ``ratios``: of each pair, ours over the peer's; ``declared``: what was measured, as its config
    has it; ``machine``: facts of the node; ``load``: its load average before and after; ``busy``:
    the one before, for each processor.
    """

    name: str
    says: str
    declared: dict[str, Any]
    ratios: tuple[float, ...]
    machine: dict[str, Any]
    load: tuple[float, float]
    busy: float


def read_run(directory: Path) -> dict[str, Measured]:
    """Return the comparisons of a run by name; ``directory`` is that of its results.

    What the machine lacked a tracker for is left out.

    :raises TidemarkError: when there are no samples, or a file is damaged
    """
    paths = sorted(directory.glob("raw/*.json"))
    if not paths:
        raise TidemarkError(
            f"{directory} holds no samples: there is no {directory / 'raw'}/*.json; name the "
            "results of a run of `make bench`"
        )
    found = [_measured(path, raw) for path in paths if not (raw := read_json(path)).get("lacking")]
    return {measured.name: measured for measured in found}


def _measured(path: Path, raw: dict[str, Any]) -> Measured:
    with believed(path, "measure it again"):
        ratios = tuple(filter(None, map(_ratio, raw["samples"])))
        declared = {key: raw["declared"][key] for key in ("measure", "with")}
        before, after = (load[0] for load in raw["load"])
        says = raw["declared"]["says"]
        machine, load = raw["machine"], (before, after)
        busy = before / machine["cpus"]
        found = Measured(raw["name"], says, declared, ratios, machine, load, busy)
    if not ratios:
        raise TidemarkError(f"{path} holds no samples; measure it again")
    return found


def _ratio(sample: dict[str, Any]) -> float | None:
    """Return the ratio of a pair; none where noise left nothing of a difference of two times."""
    ours, peer = float(sample["ours"]), float(sample["peer"])
    return ours / peer if ours > 0 and peer > 0 else None
