"""``tidemark shard``: all shards of a config are written, as they were declared, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemark import cli
from tidemark.config import load
from tidemark.shards.model import read_shard

CONFIG = """\
live_threads: 2
results: elsewhere
workloads:
  long: {run: [python3, a.py, '010'], epochs: 9, advance: {steps: 1}}
  one: {run: python3, epochs: 1, advance: {seconds: 0.5}}
  two: &two {attach: {pid: 1}, epochs: 5, advance: {seconds: 1}}
  three: *two
"""


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("my.yaml")
    path.write_text(CONFIG)
    return path


def split(count: int, to: str = "shards") -> int:
    return cli.main(["shard", "--count", str(count), "--to", to, "--configfile", "my.yaml"])


def test_every_workload_is_in_one_shard_as_it_was_declared(config: Path) -> None:
    assert split(3) == 0
    whole = load(config)
    shards = [load(path) for path in Path("shards").glob("*/config.yaml")]
    assert sum(len(shard.workloads) for shard in shards) == len(whole.workloads)
    found = {name: shard.workload_json(name) for shard in shards for name in shard.workloads}
    assert found == {name: whole.workload_json(name) for name in whole.workloads}
    assert {shard.live_threads for shard in shards} == {2}


def test_a_shard_knows_its_config() -> None:
    assert split(2) == 0
    for number in (1, 2):
        shard = read_shard(Path(f"shards/shard-{number}"))
        assert load(shard.config).digest() == shard.own
        assert Path(load(shard.config).results) == shard.results


@pytest.mark.parametrize(
    ("to", "code", "says"),
    [
        ("my.yaml", 7, "my.yaml exists; name a new directory with --to"),
        ("link", 7, "link exists; name a new directory with --to"),
        ("{w}", 3, 'results: is "{w}/shard-1/results", must be a path without `{`'),
        ("my.yaml/shards", 7, "a file stands where a directory is needed"),
    ],
)
def test_where_shards_cannot_be_nothing_is_left(
    config: Path, capsys: pytest.CaptureFixture[str], to: str, code: int, says: str
) -> None:
    Path("link").symlink_to("nowhere")
    assert split(2, to) == code
    assert says in capsys.readouterr().err
    assert sorted(Path().iterdir()) == [Path("link"), config]
