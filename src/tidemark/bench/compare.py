"""Two runs of the benchmark pipeline: what got worse, as far as their samples can tell."""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tidemark.bench.run import Measured

CONFIDENCE = 0.99
"""Of the interval: with thirty lines, one of 0.95 would call out every other night."""
MARGIN = 0.05
"""What is closer to 1 than this is the same."""
BUSY = 2.0
"""The load for each processor above which samples tell of others: at 6 to 10, unchanged code was
called worse. What the line before has left of the load average is below."""
FEWEST = 5
"""Samples of a line in one run, below which chance alone could set them apart."""
_RESAMPLES = 2000

Verdict = Literal["worse", "better", "same", "unsure"]


@dataclass(frozen=True)
class Line:
    """A comparison in both runs; ``ratio`` is the second run's median over the first's.

    ``low`` and ``high`` bound it with the confidence that is asked for; ``why`` it is unsure.
    """

    name: str
    says: str
    before: float
    after: float
    ratio: float
    low: float
    high: float
    samples: tuple[int, int]
    verdict: Verdict
    why: str = ""


def compare(before: Mapping[str, Measured], after: Mapping[str, Measured]) -> list[Line]:
    """Return a line for each comparison that both runs have, by name.

    Ratios of ours to a peer's are compared, not times: a slower machine slows both.
    """
    return [_line(before[name], after[name]) for name in sorted(before.keys() & after.keys())]


def _line(before: Measured, after: Measured) -> Line:
    low, high = interval(before.ratios, after.ratios, before.name)
    verdict, why = _verdict(before, after, low, high)
    medians = median(before.ratios), median(after.ratios)
    return Line(
        name=before.name,
        says=after.says,
        before=medians[0],
        after=medians[1],
        ratio=medians[1] / medians[0],
        low=low,
        high=high,
        samples=(len(before.ratios), len(after.ratios)),
        verdict=verdict,
        why=why,
    )


def _verdict(before: Measured, after: Measured, low: float, high: float) -> tuple[Verdict, str]:
    if why := _why_not(before, after):
        return "unsure", why
    if low > 1 + MARGIN:
        return "worse", ""
    if high < 1 - MARGIN:
        return "better", ""
    if low >= 1 - MARGIN and high <= 1 + MARGIN:
        return "same", ""
    return "unsure", "the samples scatter too much"


def _why_not(before: Measured, after: Measured) -> str:
    """Return why nothing can be said of two lines, whatever their samples are."""
    if before.declared != after.declared:
        return "the two did not measure the same"
    if min(len(before.ratios), len(after.ratios)) < FEWEST:
        return f"fewer than {FEWEST} samples"
    if max(before.busy, after.busy) > BUSY:
        return "others kept the machine busy"
    return ""


def interval(before: Sequence[float], after: Sequence[float], seed: str) -> tuple[float, float]:
    """Return the bootstrap interval of the ratio of two medians; the same for the same input.

    Samples are drawn anew from each run, with replacement; what such draws give in the middle
    ``CONFIDENCE`` of all cases is the interval.
    """
    draw = random.Random(seed)  # noqa: S311 - nothing is kept secret by it
    ratios = [_drawn(draw, after) / _drawn(draw, before) for _ in range(_RESAMPLES)]
    cuts = quantiles(ratios, n=round(2 / (1 - CONFIDENCE)), method="inclusive")
    return cuts[0], cuts[-1]


def _drawn(draw: random.Random, samples: Sequence[float]) -> float:
    return median(draw.choices(samples, k=len(samples)))


def differing_facts(before: Mapping[str, Measured], after: Mapping[str, Measured]) -> list[str]:
    """Return the facts in which the nodes of the two runs differ, a sentence each."""
    first, second = _facts(before), _facts(after)
    return [
        f"{fact}: {first.get(fact)} in the first run, {second.get(fact)} in the second"
        for fact in sorted(first.keys() | second.keys())
        if first.get(fact) != second.get(fact)
    ]


def _facts(run: Mapping[str, Measured]) -> dict[str, str]:
    """Return all values of each fact: on a cluster each line may be of another node."""
    found: dict[str, set[str]] = {}
    for measured in run.values():
        for fact, value in measured.machine.items():
            found.setdefault(fact, set()).add(str(value))
    return {fact: ", ".join(sorted(values)) for fact, values in found.items()}
