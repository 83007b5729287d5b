"""Heat maps and charts: no page is lost, doubled, or too small to be seen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_fixture import write_workload
from report_plans import by_content, sparse

from tidemark.report import human
from tidemark.report.axis import MAX_COLUMNS, fit_axis
from tidemark.report.bitmaps import CHUNK_PAGES, Chunks, RegionBits, total
from tidemark.report.charts import SECONDS, SIZE, Series, bar_chart, nice_top
from tidemark.report.collect import collect
from tidemark.report.drawing import draw
from tidemark.report.heatmap import RegionMap, Row, bin_counts, bin_region, heat_maps

if TYPE_CHECKING:
    from pathlib import Path

SIZES = st.one_of(st.integers(1, 3000), st.integers(1, 1 << 24), st.just(16 << 20))


def chunks_of(pages: set[int]) -> Chunks:
    chunks: Chunks = {}
    for page in pages:
        index, bit = divmod(page, CHUNK_PAGES)
        chunks[index] = chunks.get(index, 0) | 1 << bit
    return chunks


@st.composite
def regions(draw_from: st.DrawFn) -> RegionBits:
    """Draw a region of any size with runs of used, dirty and suspect pages anywhere."""
    size = draw_from(SIZES)
    run = st.tuples(st.integers(0, size - 1), st.integers(1, 70))
    parts: list[set[int]] = []
    for _ in range(3):
        runs = draw_from(st.lists(run, max_size=12))
        parts.append({p for first, n in runs for p in range(first, min(first + n, size))})
    used, dirty, suspect = parts
    bits = chunks_of(used), chunks_of(dirty), chunks_of(suspect - dirty)
    return RegionBits(1, "memfd", size, True, *bits, {})


def all_pages(bits: RegionBits) -> Chunks:
    found: Chunks = {}
    for part in (bits.used, bits.dirty, bits.suspect):
        for index, some in part.items():
            found[index] = found.get(index, 0) | some
    return found


@given(regions())
def test_binning_neither_loses_nor_doubles_a_page(bits: RegionBits) -> None:
    occupied = all_pages(bits)
    axis = fit_axis(bits.pages, occupied)
    row = bin_region(bits, axis, 0, None)
    assert axis.columns <= MAX_COLUMNS
    assert sum(bin_counts(occupied, axis)) == total(occupied)
    assert sum(row.written) == total(bits.dirty)
    assert sum(row.unsettled) == total(bits.suspect)
    assert sum(row.written) + sum(row.unsettled) + sum(row.used) == total(occupied)
    assert sum(row.never) == bits.pages - axis.skipped - total(occupied)
    assert min(row.never, default=0) >= 0


@given(regions())
def test_an_axis_skips_only_where_it_says_so(bits: RegionBits) -> None:
    axis = fit_axis(bits.pages, all_pages(bits))
    assert bool(axis.skipped) == bool(axis.breaks)
    assert all(first < end for first, end in axis.runs)
    if axis.skipped:
        assert axis.skipped > bits.pages / 2


@given(regions())
def test_every_page_of_an_epoch_is_drawn_within_the_map(bits: RegionBits) -> None:
    axis = fit_axis(bits.pages, all_pages(bits))
    row = bin_region(bits, axis, 0, {})
    drawing = draw(RegionMap(1, "memfd", "/memfd:any", 4096, axis, (row,)))
    styles = {layer.style: layer.path for layer in drawing.layers}
    assert bool(styles.get("w")) == bool(total(bits.dirty))
    for path in styles.values():
        for x, y, wide, high in re.findall(r"M([\d.]+) (\d+)h(\d+)v(\d+)", path):
            assert float(x) + int(wide) <= drawing.width + 0.01
            assert int(y) + int(high) <= drawing.height
    drawn = sum(int(wide) for wide in re.findall(r"h(\d+)v", styles.get("w", "")))
    assert drawn == sum(1 for count in row.written if count)


def test_one_written_page_among_a_million_is_drawn() -> None:
    everything = dict.fromkeys(range(30), (1 << CHUNK_PAGES) - 1)
    bits = RegionBits(1, "memfd", 983040, True, everything, chunks_of({700_001}), {}, {})
    axis = fit_axis(bits.pages, everything)
    drawing = draw(RegionMap(1, "memfd", "", 4096, axis, (bin_region(bits, axis, 0, {}),)))
    (written,) = [layer.path for layer in drawing.layers if layer.style == "w"]
    assert re.fullmatch(r"M\d+ \d+h1v[3-9]h-1z", written)


def test_a_sparse_region_is_shown_close_up_and_says_what_is_cut_out(tmp_path: Path) -> None:
    plan = sparse()
    write_workload(tmp_path, plan)
    (region,) = heat_maps(tmp_path, collect(tmp_path, plan.name, len(plan.epochs)), 4096)
    assert region.axis.width <= 64
    assert [sum(row.written) for row in region.rows] == [1000, 60, 60, 60, 60]
    assert "Not to scale: 1 page in" in draw(region).caption


def test_suspects_that_the_dump_carries_are_drawn_as_written(tmp_path: Path) -> None:
    plan = by_content()
    write_workload(tmp_path, plan)
    (region,) = heat_maps(tmp_path, collect(tmp_path, plan.name, len(plan.epochs)), 4096)
    assert sum(region.rows[0].unsettled) == 10000
    for row, (made,) in zip(region.rows[1:], plan.epochs[1:], strict=True):
        assert sum(row.written) == made.changed.bit_count()
        assert sum(row.unsettled) == 0


def test_suspects_stay_suspects_where_the_page_map_is_damaged(tmp_path: Path) -> None:
    plan = by_content()
    write_workload(tmp_path, plan)
    path = tmp_path / plan.name / "e1" / "image" / "pagemap-shmem-1.img"
    path.write_bytes(path.read_bytes()[:-3])
    (region,) = heat_maps(tmp_path, collect(tmp_path, plan.name, len(plan.epochs)), 4096)
    assert sum(region.rows[1].unsettled) == 10000
    assert sum(region.rows[1].written) == 0
    (notice,) = region.notices
    assert notice.startswith("legacy/e1/image/pagemap-shmem-1.img ")


def test_a_first_epoch_that_dwarfs_the_others_is_cut_off_and_labelled() -> None:
    chart = bar_chart(Series("Frozen", "", SECONDS, [50.0, None, 1.0, 2.0]))
    assert [bar.cut for bar in chart.bars] == [True, False, False]
    assert chart.bars[0].label == "50\N{NO-BREAK SPACE}s"
    assert chart.ticks[-1].text == "2"


def test_bars_and_outlines_stay_within_their_chart() -> None:
    chart = bar_chart(
        Series("Dump", "", SIZE, [4096.0, 0.0, 900.0], [None, 4096.0, 8191.0], "full")
    )
    assert min(bar.ghost or bar.y for bar in chart.bars) >= 0
    assert chart.bars[1].height == 0
    assert (
        chart.bars[2].title == "epoch 2: 900\N{NO-BREAK SPACE}bytes; full 8.00\N{NO-BREAK SPACE}KiB"
    )


@given(st.floats(1e-9, 1e15))
def test_an_axis_ends_above_its_highest_value_and_not_far_above(highest: float) -> None:
    assert highest <= nice_top(highest) <= highest * 2.0001


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (human.share(0.99999), ">99.9 %"),
        (human.share(1.0), "100 %"),
        (human.share(1e-7), "<0.01 %"),
        (human.share(0), "0 %"),
        (human.share(None), "—"),
        (human.size(0), "0 bytes"),
        (human.size(1536), "1.50 KiB"),
        (human.size(64 << 30), "64 GiB"),
        (human.seconds(0.00021), "210 µs"),
        (human.seconds(0.0021), "2.10 ms"),
        (human.rate(1_234_567), "1,230,000/s"),
        (human.rate(12.5), "12.5/s"),
        (human.plural(1, "page"), "1 page"),
    ],
)
def test_numbers_read_as_people_write_them(shown: str, wanted: str) -> None:
    assert shown.replace("\N{NO-BREAK SPACE}", " ") == wanted


def test_an_empty_row_is_nothing_but_never() -> None:
    bits = RegionBits(1, "memfd", 100, True, {}, {}, {}, {})
    axis = fit_axis(100, {})
    assert bin_region(bits, axis, 3, {}) == Row(3, (0,) * 100, (0,) * 100, (0,) * 100, (1,) * 100)
