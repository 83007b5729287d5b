"""Loading a config: files, their merging, the programs they name, and what is made of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidemark.config import Config, generate, load, resolve
from tidemark.errors import ConfigError
from tidemark.workload import Advance, Policy, Ready, Workload

ROOT = Path(__file__).parents[2]
BUNDLED = ("config/config.yaml", "config/postgres.yaml")
ONE_ADVANCE = "exactly one of `steps`, `seconds` or `command`"
APP = "{run: [python3], epochs: 1, advance: {seconds: 1}}"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(text: str | bytes, name: str = "c.yaml") -> str:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(Path(name))
    return str(caught.value)


def told_by_resolve(raw: dict[str, Any], **files: str) -> str:
    for name, text in files.items():
        Path(f"{name}.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        resolve(raw, [Path(f"{name}.yaml") for name in files])
    return str(caught.value)


def with_app(**keys: object) -> dict[str, Any]:
    return {"workloads": {"app": yaml.safe_load(APP) | keys}}


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        ("run", ": must have exactly one of `run` or `attach`"),
        ("epochs", ".epochs: is missing, must be a whole number, at least 1"),
        ("advance", f".advance: is missing, must be a mapping with {ONE_ADVANCE}"),
    ],
)
def test_a_missing_key_is_told_with_what_it_takes(missing: str, line: str) -> None:
    raw = with_app()
    del raw["workloads"]["app"][missing]
    assert told(yaml.safe_dump(raw)) == f"c.yaml: workloads.app{line}"


def test_a_misspelt_key_is_one_mistake_and_not_also_a_missing_one() -> None:
    text = "workloads: {app: {runs: [python3], epoch: 1, advanced: {seconds: 1}}}"
    assert told(text).splitlines() == [
        "the config has 3 mistakes:",
        "  c.yaml: workloads.app.runs: unknown key; did you mean `run`?",
        "  c.yaml: workloads.app.epoch: unknown key; did you mean `epochs`?",
        "  c.yaml: workloads.app.advanced: unknown key; did you mean `advance`?",
    ]


def test_all_mistakes_come_at_once_in_the_order_of_the_file(here: Path) -> None:
    text = """\
live_thread: 2
workloads:
  b:
    run: [no-such-program]
    epochs: -1
  a:
    attach: {pid: one}
    epochs: 1
    epochs: 2
    advance: {command: [./missing.sh]}
    stop: {grace: soon}
  b:
    check: /
results: [1]
"""
    assert told(text).splitlines() == [
        "the config has 12 mistakes:",
        "  c.yaml: live_thread: unknown key; did you mean `live_threads`?",
        "  c.yaml: workloads.b: is given 2 times, on lines 3 and 12; keep one",
        "  c.yaml: workloads.b: must have exactly one of `run` or `attach`",
        "  c.yaml: workloads.b.check: `/` is a directory, not a program",
        "  c.yaml: workloads.b.epochs: is missing, must be a whole number, at least 1",
        f"  c.yaml: workloads.b.advance: is missing, must be a mapping with {ONE_ADVANCE}",
        '  c.yaml: workloads.a.attach.pid: is "one", must be a whole number',
        "  c.yaml: workloads.a.epochs: is given 2 times, on lines 8 and 9; keep one",
        (
            f"  c.yaml: workloads.a.advance.command: `./missing.sh` is not found in {here}; "
            "correct the path"
        ),
        "  c.yaml: workloads.a.stop: is only for a workload with `run`; remove it",
        '  c.yaml: workloads.a.stop.grace: is "soon", must be a number',
        "  c.yaml: results: is a list, must be text",
    ]


def test_the_last_file_that_sets_a_key_is_the_one_that_is_named() -> None:
    first = f"workloads:\n  app: {APP}\nlive_threads: 0\n"
    raw = with_app(epochs=0, tracker="x") | {"live_threads": 0}
    assert told_by_resolve(
        raw, first=first, second="workloads: {app: {epochs: 0}}"
    ).splitlines() == [
        "the config has 3 mistakes:",
        "  second.yaml: workloads.app.epochs: is 0, must be at least 1",
        (
            "  --config: workloads.app.tracker: "
            'is "x", must be `auto`, `uffd-wp`, `soft-dirty` or `content`'
        ),
        "  first.yaml: live_threads: is 0, must be at least 1",
    ]


def test_a_missing_key_is_laid_to_the_last_file_that_has_its_section() -> None:
    assert told_by_resolve(
        {"workloads": {"app": {"run": ["python3"], "epochs": 1}}},
        first="workloads: {app: {run: [python3]}}",
        second="workloads: {app: {epochs: 1}}",
        third="live_threads: 1",
    ).startswith("second.yaml: workloads.app.advance: is missing")


def test_numbers_and_nulls_nested_in_config_are_read_as_yaml_would() -> None:
    Path("c.yaml").write_text(f"workloads:\n  app: {APP}\n")
    raw = with_app(epochs="2", timeout="1.5", advance={"seconds": "null", "steps": "3"})
    raw["workloads"]["app"]["run"] = ["python3", "010"]
    app = resolve(raw, [Path("c.yaml")]).workloads["app"]
    assert (app.epochs, app.timeout, app.advance.steps, app.advance.seconds) == (2, 1.5, 3, None)
    assert app.run == ("python3", "010")


def test_a_number_in_quotes_in_a_file_is_a_mistake() -> None:
    text = f"workloads:\n  app: {APP}\n".replace("epochs: 1", "epochs: '1'")
    assert told(text) == (
        'c.yaml: workloads.app.epochs: is "1", must be a whole number; write 1 without quotes'
    )


def test_words_may_be_numbers_and_a_string_is_a_program() -> None:
    app = resolve(with_app(run=["python3", 4, 0.5], check="true"), []).workloads["app"]
    assert app.run == ("python3", "4", "0.5")
    assert app.check == ("true",)


def test_the_json_of_a_workload_is_what_a_job_reads() -> None:
    raw = with_app(
        advance={"command": ["true", 2]},
        ready={"output": "^ready"},
        stop={"signal": "INT"},
        env={"A": 1},
        timeout=5,
    )
    assert Workload.from_json(resolve(raw, []).workload_json("app")) == Workload(
        name="app",
        run=("python3",),
        attach_pid=None,
        attach_pidfile=None,
        epochs=1,
        advance=Advance(steps=None, seconds=None, command=("true", "2")),
        tracker="auto",
        policy=Policy(audit=0.0, strict=False, drop_unchanged=False),
        ready=Ready(step=None, output="^ready", seconds=None),
        timeout=5.0,
        stop_signal="INT",
        stop_grace=10.0,
        check=None,
        env={"A": "1"},
    )


def test_a_job_reads_a_workload_to_attach_to() -> None:
    raw = {"attach": {"pidfile": "a.pid"}, "epochs": 2, "advance": {"seconds": 1}}
    text = resolve({"workloads": {"app": raw}}, []).workload_json("app")
    workload = Workload.from_json(text)
    assert (workload.run, workload.attach_pid, workload.attach_pidfile) == (None, None, "a.pid")
    assert workload.ready is None
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_an_unknown_workload_is_told_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"^there is no workload `ap`; did you mean `app`\?$"):
        resolve(with_app(), []).workload_json("ap")


def test_reading_a_workload_needs_only_the_standard_library() -> None:
    program = "import sys, tidemark.workload; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT / "src")},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert not {"pydantic", "yaml", "difflib", "argparse"} & set(output.split())


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_config_is_valid_by_the_models_and_by_the_schema(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="comes with snakemake")
    value = yaml.safe_load((ROOT / name).read_text())
    Config.model_validate(value)
    jsonschema.Draft202012Validator(json.loads(generate.schema())).validate(value)


def test_the_generated_files_are_up_to_date() -> None:
    found = generate.differences(ROOT)
    assert not found, f"{found}\nrun: {generate.COMMAND}"
