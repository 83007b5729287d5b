"""Bar charts over epochs, as geometry: the template turns it into inline SVG.

No chart library: static SVG needs no script, so it is there in a print, in a mail
preview and in a viewer that forbids scripts, it takes its colours from the page's
style (light and dark), and its bytes do not depend on a bundled library's version.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemark.report.human import count, digits, rate, seconds, share, size, size_unit, time_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH, HEIGHT = 300.0, 150.0
LEFT, RIGHT, TOP, BOTTOM = 34.0, 4.0, 24.0, 18.0
_TICKS = 2  # above the base line
_LETTER = 6.2  # width of a value label's letter: labels that would touch are left out
_EPOCH_LABELS = 12
_CUT = 3.0  # times the highest of the others: a first bar that is taller is cut off


@dataclass(frozen=True)
class Scale:
    """How a quantity is said: in full, and on the axis by unit (its factor, its name)."""

    say: Callable[[float | None], str]
    unit: Callable[[float], tuple[float, str]]


SIZE = Scale(size, size_unit)
SECONDS = Scale(seconds, time_unit)
SHARE = Scale(share, lambda _: (0.01, "%"))
RATE = Scale(rate, lambda top: (1e6, "M/s") if top >= 1e6 else _thousands(top))


def _thousands(top: float) -> tuple[float, str]:
    return (1e3, "k/s") if top >= 1e3 else (1.0, "/s")


@dataclass(frozen=True)
class Bar:
    """One epoch's bar; ``ghost`` is the y of what it is compared with, drawn as an outline.

    ``cut``: the bar is taller than the chart.
    """

    x: float
    y: float
    width: float
    height: float
    ghost: float | None
    cut: bool
    label: str
    title: str


@dataclass(frozen=True)
class Mark:
    """A label on an axis: its place along it, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A chart, drawn in a box of WIDTH by HEIGHT; ``bars`` lack the epochs without a value."""

    title: str
    note: str
    unit: str
    bars: tuple[Bar, ...]
    ticks: tuple[Mark, ...]
    epochs: tuple[Mark, ...]
    base: float = HEIGHT - BOTTOM
    left: float = LEFT
    right: float = WIDTH - RIGHT
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True)
class Series:
    """Values by epoch, each beside an optional value that it is compared with."""

    title: str
    note: str
    scale: Scale
    values: Sequence[float | None]
    ghosts: Sequence[float | None] = ()
    versus: str = ""


def bar_chart(series: Series) -> Chart:
    """Return the chart of a series; None is an epoch of which nothing is known."""
    ghosts = tuple(series.ghosts) or (None,) * len(series.values)
    highest = _highest(series.values, ghosts)
    factor, unit = series.scale.unit(highest)
    top = nice_top(highest / factor)
    slot = (WIDTH - LEFT - RIGHT) / max(len(series.values), 1)
    longest = max((len(series.scale.say(value)) for value in series.values), default=0)
    bars = tuple(
        _bar(series, (epoch, ghost), slot, top * factor, longest * _LETTER <= slot)
        for epoch, ghost in enumerate(ghosts)
        if series.values[epoch] is not None
    )
    every = -(-len(series.values) // _EPOCH_LABELS) or 1
    marks = range(0, len(series.values), every)
    return Chart(
        series.title,
        series.note,
        unit,
        bars,
        tuple(Mark(_y(i / _TICKS, 1), digits(top * i / _TICKS)) for i in range(_TICKS + 1)),
        tuple(Mark(round(LEFT + slot * (epoch + 0.5), 2), count(epoch)) for epoch in marks),
    )


def _highest(values: Sequence[float | None], ghosts: Sequence[float | None]) -> float:
    """Return what the axis must reach: without the first epoch where that dwarfs the others.

    In the first epoch everything may be new, and the later ones are what the chart is about.
    """
    highest = max((value for value in (*values, *ghosts) if value is not None), default=0.0)
    others = max((value for value in (*values[1:], *ghosts) if value is not None), default=0.0)
    return others if 0 < others * _CUT < highest else highest


def _bar(
    series: Series, at: tuple[int, float | None], slot: float, top: float, labelled: bool
) -> Bar:
    epoch, ghost = at
    value = series.values[epoch] or 0.0
    cut = value > top
    y = _y(min(value, top), top)
    width = min(slot * 0.72, 44.0)
    title = f"epoch {epoch}: {series.scale.say(value)}"
    return Bar(
        x=round(LEFT + slot * epoch + (slot - width) / 2, 2),
        y=y,
        width=round(width, 2),
        height=round(HEIGHT - BOTTOM - y, 2),
        ghost=None if ghost is None else _y(ghost, top),
        cut=cut,
        label=series.scale.say(value) if labelled or cut else "",
        title=title if ghost is None else f"{title}; {series.versus} {series.scale.say(ghost)}",
    )


def _y(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top, 2)


def nice_top(highest: float) -> float:
    """Return the end of an axis: the least of 1, 2, 4, 5, 8 times a power of ten that fits all."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 4, 5, 8, 10, 20) if step * power >= highest)
