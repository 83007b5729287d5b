"""Two runs of the benchmarks: what is called worse, and what is not."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from tidemark.bench.compare import compare, differing_facts, interval
from tidemark.bench.run import read_run
from tidemark.cli import main
from tidemark.files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PAIRS = 15


def noisy(seed: int, median: float, pairs: int = PAIRS, scatter: float = 0.1) -> list[float]:
    """Return ratios that scatter about ``median``, by a tenth of it."""
    draw = random.Random(seed)  # noqa: S311
    return [median * draw.gauss(1.0, scatter) for _ in range(pairs)]


def write(directory: Path, name: str, ratios: list[float], **facts: Any) -> Path:
    """Write the samples of one comparison as the pipeline does; return the run's directory."""
    declared = {"row": 1, "measure": "scan", "with": {"mib": 64}, "says": f"what {name} does"}
    value = {
        "name": name,
        "declared": declared | facts.pop("declared", {}),
        "samples": [{"ours": ratio * 2e-3, "peer": 2e-3} for ratio in ratios],
        "load": [[facts.pop("load", 1.0), 1.0, 1.0], [2.0, 1.0, 1.0]],
        "machine": {"kernel": "6.1", "cpus": 2} | facts,
    }
    write_json(directory / "raw" / f"{name}.json", value)
    return directory


def verdicts(before: Path, after: Path) -> dict[str, str]:
    """Return what is said of each comparison."""
    return {line.name: line.verdict for line in compare(read_run(before), read_run(after))}


def test_what_got_slower_by_a_third_is_worse_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, factor in (("scan", 1.33), ("dump", 1.0), ("copy", 0.6)):
        write(tmp_path / "a", name, noisy(1, 1.0, scatter=0.02))
        write(tmp_path / "b", name, noisy(2, factor, scatter=0.02))
    told = {"scan": "worse", "dump": "same", "copy": "better"}
    assert verdicts(tmp_path / "a", tmp_path / "b") == told
    assert main(["bench", "diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 14
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].endswith("beyond noise: scan")
    assert [line.split()[0] for line in said.out.splitlines()] == ["better", "same", "worse"]


def test_two_runs_of_the_same_are_hardly_ever_called_worse_or_better(tmp_path: Path) -> None:
    for index in range(100):
        write(tmp_path / "a", f"line-{index}", noisy(index, 1.0))
        write(tmp_path / "b", f"line-{index}", noisy(1000 + index, 1.0))
    found = list(verdicts(tmp_path / "a", tmp_path / "b").values())
    assert found.count("same") + found.count("unsure") >= 98


def test_the_interval_is_the_same_each_time_and_holds_the_ratio() -> None:
    before, after = noisy(1, 1.0), noisy(2, 1.5)
    low, high = interval(before, after, "seed")
    assert (low, high) == interval(before, after, "seed")
    assert 1.3 < low < 1.5 < high < 1.7


def test_too_few_samples_and_other_shapes_are_not_judged(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "few", noisy(1, 1.0, 4))
    b = write(tmp_path / "b", "few", noisy(2, 9.0, 4))
    write(a, "other", noisy(1, 1.0))
    write(b, "other", noisy(2, 9.0), declared={"with": {"mib": 128}})
    assert verdicts(a, b) == {"few": "unsure", "other": "unsure"}
    assert main(["bench", "diff", str(a), str(b)]) == 0


def test_what_scatters_too_much_or_was_measured_beside_others_is_not_judged(
    tmp_path: Path,
) -> None:
    a = write(tmp_path / "a", "scattered", noisy(1, 1.0, scatter=0.5))
    b = write(tmp_path / "b", "scattered", noisy(2, 1.3, scatter=0.5))
    write(a, "beside", noisy(1, 1.0))
    write(b, "beside", noisy(2, 9.0), load=5.0)
    found = {line.name: line for line in compare(read_run(a), read_run(b))}
    assert {line.verdict for line in found.values()} == {"unsure"}
    assert found["beside"].why == "others kept the machine busy"
    assert found["scattered"].why == "the samples scatter too much"


def test_a_pair_of_which_noise_left_nothing_is_left_out(tmp_path: Path) -> None:
    ratios = [1.0, -0.5, 0.0, 2.0]
    assert read_run(write(tmp_path, "scale", ratios))["scale"].ratios == (1.0, 2.0)


def test_what_a_machine_lacks_a_tracker_for_is_told_and_not_judged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a = write(tmp_path / "a", "scan", noisy(1, 1.0))
    b = write(tmp_path / "b", "scan", noisy(1, 1.0))
    for directory, samples in ((a, noisy(1, 1.0)), (b, [])):
        write(directory, "soft", samples)
    path = b / "raw" / "soft.json"
    write_json(path, read_json(path) | {"lacking": "soft-dirty is not there"})
    assert main(["bench", "diff", str(a), str(b)]) == 0
    assert "only one of the runs has soft" in caplog.text


def test_facts_of_all_nodes_are_told(tmp_path: Path) -> None:
    for name, host in (("one", "n1"), ("other", "n2")):
        write(tmp_path / "a", name, noisy(1, 1.0), hostname=host)
        write(tmp_path / "b", name, noisy(1, 1.0), hostname="n1")
    told = differing_facts(read_run(tmp_path / "a"), read_run(tmp_path / "b"))
    assert told == ["hostname: n1, n2 in the first run, n1 in the second"]


def test_facts_in_which_the_nodes_differ_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write(tmp_path / "a", "scan", noisy(1, 1.0))
    b = write(tmp_path / "b", "scan", noisy(2, 1.0), kernel="6.12")
    assert main(["bench", "diff", "--json", str(a), str(b)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["differing"] == ["kernel: 6.1 in the first run, 6.12 in the second"]
    assert told["lines"][0]["samples"] == [PAIRS, PAIRS]


def test_a_directory_without_samples_is_told_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write(tmp_path / "a", "scan", noisy(1, 1.0))
    for other, said in ((tmp_path, "holds no samples"), (tmp_path / "c", "holds no samples")):
        assert main(["bench", "diff", str(a), str(other)]) == 1
        assert said in capsys.readouterr().err
    empty = write(tmp_path / "d", "scan", [])
    damaged = write(tmp_path / "e", "scan", [1.0])
    write_json(damaged / "raw" / "scan.json", {"samples": [{"ours": 1.0}]})
    for other, said in ((empty, "scan.json holds no samples"), (damaged, "scan.json is damaged")):
        assert main(["bench", "diff", str(a), str(other)]) == 1
        assert said in capsys.readouterr().err
    strange = write(tmp_path / "f", "elsewhere", [1.0])
    assert main(["bench", "diff", str(a), str(strange)]) == 1
    assert "no comparison in common" in capsys.readouterr().err
