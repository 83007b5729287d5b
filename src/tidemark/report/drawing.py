"""A heat map as geometry and text: what the template draws, and what the script reads out."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tidemark.report.human import count, plural, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tidemark.report.axis import Axis
    from tidemark.report.heatmap import RegionMap, Row

# Drawing units. A row is PITCH high, its bars at most BAR; the rest keeps the rows apart.
PITCH, BAR = 18, 16
_LEAST_BAR = 3  # a single page must be seen
_LABEL_ROOM, _END_ROOM = 20, 25  # percent of the width that an axis label needs on a phone
_TALLEST, _LOWEST, _ALL_ROWS = 30, 7, 440  # pixels


@dataclass(frozen=True)
class Layer:
    """One path: all cells that look the same, ``style`` being their class."""

    style: str
    path: str


@dataclass(frozen=True)
class Label:
    """A label under the map, at ``percent`` of its width."""

    percent: float
    text: str


@dataclass(frozen=True)
class Drawing:
    """A region's heat map; ``data`` is for the script that reads out a cell."""

    number: int
    title: str
    caption: str
    notices: tuple[str, ...]
    epochs: tuple[int, ...]
    width: float
    height: int
    pixels: int
    layers: tuple[Layer, ...]
    gaps: tuple[float, ...]
    gap: float
    labels: tuple[Label, ...]
    data: dict[str, Any]


def draw(region: RegionMap) -> Drawing:
    """Return the drawing of a heat map."""
    axis = region.axis
    gap = round(axis.columns * 0.015, 2)
    width = axis.columns + gap * len(axis.breaks)
    return Drawing(
        number=region.number,
        title=f"region {region.number}, {region.kind} {region.name}",
        caption=_caption(region),
        notices=region.notices,
        epochs=tuple(row.epoch for row in region.rows),
        width=round(width, 2),
        height=PITCH * len(region.rows),
        pixels=max(_LOWEST, min(_TALLEST, _ALL_ROWS // max(len(region.rows), 1))),
        layers=_layers(region, gap),
        gaps=tuple(round(x + gap * i, 2) for i, x in enumerate(axis.breaks)),
        gap=gap,
        labels=_labels(region, gap, width),
        data=_data(region, gap),
    )


def _caption(region: RegionMap) -> str:
    axis, unit = region.axis, region.page_size
    width = f"{plural(axis.width, 'page')} ({size(axis.width * unit)})"
    scale = f"One column is {width}, one row an epoch."
    if not axis.skipped:
        return scale
    shown = count(axis.pages / (axis.pages - axis.skipped))
    return (
        f"{scale} Not to scale: 1 page in {shown} is on it; the others, in no epoch used or"
        " written, are cut out at the dotted bands."
    )


def _layers(region: RegionMap, gap: float) -> tuple[Layer, ...]:
    """Return the layers from the back to the front."""
    room = [region.axis.column_pages(column) for column in region.axis.shown()]
    places = _places(region.axis, gap)
    paths: dict[str, list[str]] = {"u1": [], "u2": [], "u3": [], "x": [], "w": []}
    for index, row in enumerate(region.rows):
        top = index * PITCH + (PITCH - BAR) // 2
        for style, heights in _cells(row, room):
            paths[style] += _boxes(heights, places, top + BAR)
    return tuple(Layer(style, "".join(parts)) for style, parts in paths.items() if parts)


def _cells(row: Row, room: Sequence[int]) -> Iterable[tuple[str, list[int]]]:
    """Yield by style the height of its box in each column, 0 for none."""
    cells = list(zip(row.written, row.unsettled, row.used, room, strict=True))
    levels = [_level((w + x + u) / pages) for w, x, u, pages in cells]
    for style in ("u1", "u2", "u3"):
        yield style, [BAR if level == style else 0 for level in levels]
    yield "x", [_bar(w + x, w + x + u) if x else 0 for w, x, u, _ in cells]
    yield "w", [_bar(w, w + x + u) for w, x, u, _ in cells]


def _level(share: float) -> str:
    if share == 0:
        return ""
    return "u1" if share < 0.1 else "u2" if share < 0.6 else "u3"


def _bar(some: int, of: int) -> int:
    """Return the height of a bar: by the square root of the share, so that small ones differ."""
    return max(_LEAST_BAR, round(BAR * math.sqrt(some / of))) if some else 0


def _boxes(heights: Sequence[int], places: Sequence[float], bottom: int) -> Iterable[str]:
    """Yield a box for each stretch of neighbours of one height; a gap ends a stretch."""
    indexed = list(enumerate(heights))
    for (height, _), cells in groupby(indexed, lambda c: (c[1], round(places[c[0]] - c[0], 2))):
        columns = [index for index, _ in cells]
        if height:
            x, wide = round(places[columns[0]], 2), len(columns)
            yield f"M{x:g} {bottom - height}h{wide}v{height}h-{wide}z"


def _places(axis: Axis, gap: float) -> list[float]:
    """Return the x of every column that is shown."""
    return [x + gap * bisect_right(axis.breaks, x) for x in range(axis.columns)]


def _labels(region: RegionMap, gap: float, width: float) -> tuple[Label, ...]:
    """Return the offsets below the map: of stretches' starts where there is room, and the end."""
    axis, places, columns = region.axis, _places(region.axis, gap), list(region.axis.shown())
    starts = [0, *axis.breaks] if axis.breaks else [axis.columns * i // 4 for i in range(4)]
    labels: list[Label] = []
    for column in sorted({start for start in starts if start < axis.columns}):
        percent = 100 * places[column] / width
        room = labels[-1].percent + _LABEL_ROOM if labels else 0
        if room <= percent <= 100 - _END_ROOM:
            offset = columns[column] * axis.width * region.page_size
            labels.append(Label(round(percent, 2), size(offset)))
    end = min((columns[-1] + 1) * axis.width, axis.pages) if columns else 0
    end_percent = 100 * (places[-1] + 1) / width if places else 100
    return (*labels, Label(round(end_percent, 2), size(end * region.page_size)))


def _data(region: RegionMap, gap: float) -> dict[str, Any]:
    data: dict[str, Any] = {
        "pages": region.axis.pages,
        "width": region.axis.width,
        "runs": region.axis.runs,
        "breaks": region.axis.breaks,
        "gap": gap,
        "epochs": [row.epoch for row in region.rows],
        "written": [row.written for row in region.rows],
        "used": [row.used for row in region.rows],
    }
    if any(any(row.unsettled) for row in region.rows):
        data["unsettled"] = [row.unsettled for row in region.rows]
    return data
