"""The command line: its verbs, and what they cost and print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from image_fixture import Content, write

from tidemark import __version__, cli
from tidemark.errors import ConfigError

ROOT = Path(__file__).parents[2]
VALID = """\
workloads:
  one: {run: [python3, a.py], epochs: 1, advance: {steps: 1}}
  three: {run: python3, epochs: 2, advance: {seconds: 0.5}, tracker: content}
  four: {attach: {pid: 1}, epochs: 2, advance: {command: [true', b c]}}
""".replace("true'", "'true'")


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("config/config.yaml")
    path.parent.mkdir()
    path.write_text(VALID)
    return path


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_summary_of_a_verb_is_the_one_in_the_list(verb: str) -> None:
    assert cli.VERBS[verb] == cli.verb_module(verb).SUMMARY


def test_help_lists_every_verb_and_imports_none() -> None:
    program = (
        "import sys; from tidemark.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print(*sys.modules)"
    )
    output = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT / "src")},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert all(f"{verb} " in output for verb in cli.VERBS)
    assert not {"pydantic", "yaml", "tidemark.cli.config"} & set(output.split())


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"tidemark {__version__}\n"


def test_a_right_config_is_printed_with_a_line_per_workload(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["config", "check"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "one    1 epoch of 1 step, tracker auto: python3 a.py",
        "three  2 epochs of 0.5 s, tracker content: python3",
        "four   2 epochs of `true 'b c'`, tracker auto: process 1",
    ]


def test_a_right_config_is_printed_as_json_with_its_defaults(
    capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    assert cli.main(["config", "check", "--json", str(config)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["schema"] == 1
    assert value["results"] == "results"
    assert value["workloads"]["one"]["timeout"] == 60.0


def test_a_wrong_config_ends_with_the_exit_code_of_a_config_error(
    capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    config.write_text(VALID.replace("epochs: 2", "epochs: 0"))
    assert cli.main(["config", "check"]) == ConfigError.exit_code == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "tidemark: error: the config has 2 mistakes:",
        "  config/config.yaml: workloads.three.epochs: is 0, must be at least 1",
        "  config/config.yaml: workloads.four.epochs: is 0, must be at least 1",
    ]


def test_a_missing_package_is_named_with_the_way_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("tidemark.config")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    assert cli.main(["config", "check"]) == 1
    said = capsys.readouterr().err
    assert "needs pydantic to be read; run `pip install 'tidemark[workflow]'`" in said


def test_a_path_of_any_bytes_is_printed_as_it_is(tmp_path: Path) -> None:
    directory = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    write(directory, {1: Content({0: 1})})
    done = subprocess.run(
        [Path(sys.executable).with_name("tidemark"), "fsck", directory],
        capture_output=True,
        check=True,
        env={**os.environ, "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"},
    )
    assert done.stdout.startswith(os.fsencode(directory) + b": sound")


@pytest.mark.parametrize("closed", [">&-", "<&-", "<&- >&- 2>&-"])
def test_a_verb_ends_well_though_its_streams_are_closed(closed: str, tmp_path: Path) -> None:
    program = "import sys; from tidemark.cli import main; sys.exit(main(['status']))"
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", program],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
