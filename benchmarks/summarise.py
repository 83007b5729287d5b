"""Summarise what was measured: a page, a plot, and a verdict for each comparison.

usage: summarise.py PAGE PLOT JSON VERDICTS RAW...

The ratio of a pair is ours divided by the peer's; what counts is the median of the pairs.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemark.files import PUBLIC, read_json, write_bytes, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HIGH_SPREAD = 0.5
NOTES = Path(__file__).with_name("notes.md")
LINE, LEFT, WIDTH = 22, 300, 900


@dataclass(frozen=True)
class Verdict:
    """One comparison: its ratios, and whether the median is at most what it should be, if it is.

    ``spread`` is that of the middle half of the ratios, in proportion to the median.
    """

    row: int
    name: str
    says: str
    at_most: float | None
    pairs: int
    least: float
    median: float
    spread: float
    ours: float
    peer: float
    ratios: list[float]

    @property
    def word(self) -> str:
        """Whether the row of the table is reached, in a word; empty where it is only told."""
        if self.at_most is None:
            return ""
        return "holds" if self.median <= self.at_most else "FAILS"


def verdicts_of(raw: dict[str, Any]) -> Iterator[Verdict]:
    """Yield the verdict over the samples of one comparison, and over what was told beside it."""
    declared = raw["declared"]
    yield _verdict(raw, {"ours": "ours", "peer": "peer"} | declared)
    if "also" in declared:
        yield _verdict(raw, {"row": declared["row"]} | declared["also"])


def _verdict(raw: dict[str, Any], declared: dict[str, Any]) -> Verdict:
    samples, ours, peer = raw["samples"], declared["ours"], declared["peer"]
    ratios = [sample[ours] / sample[peer] for sample in samples]
    median = statistics.median(ratios)
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else (median,) * 3
    return Verdict(
        row=declared["row"],
        name=raw["name"],
        says=declared["says"],
        at_most=declared.get("at_most"),
        pairs=len(ratios),
        least=min(ratios),
        median=median,
        spread=(high - low) / median,
        ours=statistics.median(sample[ours] for sample in samples),
        peer=statistics.median(sample[peer] for sample in samples),
        ratios=ratios,
    )


def line(verdict: Verdict) -> str:
    """Return a verdict as one line."""
    noisy = "  (noisy: repeat it on a quiet machine)" if verdict.spread > HIGH_SPREAD else ""
    limit = "" if verdict.at_most is None else f", at most {verdict.at_most:g}"
    return (
        f"row {verdict.row:2}  {verdict.word:5}  "
        f"ratio {verdict.median:6.3f} (least {verdict.least:.3f}{limit})  "
        f"{verdict.says}{noisy}"
    )


def page(
    verdicts: Sequence[Verdict],
    lacking: Sequence[dict[str, Any]],
    machine: dict[str, Any],
    load: Sequence[float],
) -> str:
    """Return the page of the last run; ``lacking``: what could not be measured here."""
    rows = [
        f"| {v.row} | {v.says} | {v.ours:.4g} | {v.peer:.4g} | {v.median:.3f} | {v.least:.3f} | "
        f"{v.spread:.0%} | {'' if v.at_most is None else v.at_most} | {v.word} |"
        for v in verdicts
    ]
    facts = (
        f"Linux {machine['kernel']}, {machine['architecture']}, {machine['cpus']} processors, "
        f"Python {machine['python']}; load {load[0]:.1f} to {load[1]:.1f}."
    )
    return "\n".join(
        [
            "# Benchmarks: the last run",
            "",
            facts,
            "A ratio is ours over the peer's, of the median of pairs measured one right after the",
            "other; times are in seconds. Made by `make bench`; the samples are in",
            "`results/benchmarks/raw/`.",
            "",
            "| row | what | ours | peer | ratio | least | spread | at most | |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            *(f"- Not measured: {raw['declared']['says']}: {raw['lacking']}." for raw in lacking),
            "",
            NOTES.read_text(),
        ]
    )


def plot(verdicts: Sequence[Verdict]) -> str:
    """Return a strip of all ratios per comparison, in proportion to what each should be."""
    body = []
    for index, verdict in enumerate(verdicts):
        y = LINE * (index + 1)
        body.append(f'<text x="4" y="{y + 4}">{verdict.name}</text>')
        for ratio in verdict.ratios:
            x = _place(ratio / (verdict.at_most or 1.0))
            body.append(f'<circle cx="{x:.1f}" cy="{y}" r="3" class="{verdict.word.lower()}"/>')
    limit, height = _place(1.0), LINE * (len(verdicts) + 2)
    style = "text{font:12px sans-serif}.holds{fill:#2a7}.fails{fill:#c33}circle{opacity:.5}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
        f"<style>{style}</style>{''.join(body)}"
        f'<path d="M{limit} 6V{height - LINE}" stroke="#333"/>'
        f'<text x="{limit}" y="{height - 6}" text-anchor="middle">at most</text></svg>\n'
    )


def _place(share: float) -> float:
    return LEFT + (WIDTH - LEFT - 20) * min(share, 3.0) / 3.0


def main() -> None:
    """Write the page, the plot, the summary, and a line with a verdict per comparison."""
    where, picture, summary, lines = map(Path, sys.argv[1:5])
    found = [read_json(Path(path)) for path in sys.argv[5:]]
    measured = [raw for raw in found if raw["samples"]]
    lacking = [raw for raw in found if not raw["samples"]]
    verdicts = sorted(chain.from_iterable(map(verdicts_of, measured)), key=lambda v: v.row)
    load = min(raw["load"][0][0] for raw in found), max(raw["load"][1][0] for raw in found)
    write_bytes(where, page(verdicts, lacking, found[0]["machine"], load).encode(), PUBLIC)
    write_bytes(picture, plot(verdicts).encode(), PUBLIC)
    rows = [asdict(verdict) | {"verdict": verdict.word} for verdict in verdicts]
    write_json(summary, {"verdicts": rows}, PUBLIC)
    write_bytes(lines, ("\n".join(map(line, verdicts)) + "\n").encode(), PUBLIC)


if __name__ == "__main__":
    main()
