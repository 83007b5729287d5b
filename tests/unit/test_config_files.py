"""Reading a config's files: what is no YAML, no config or no program, and what is said about it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tidemark.config import load, resolve
from tidemark.config.source import parsed
from tidemark.errors import ConfigError

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


def with_app(**keys: object) -> dict[str, Any]:
    return {"workloads": {"app": yaml.safe_load(APP) | keys}}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "c.yaml: is empty, must declare at least one workload under `workloads`"),
        ("# nothing\n", "c.yaml: is empty, must declare at least one workload under `workloads`"),
        ("- a\n- b\n", "c.yaml: is a list, must be a mapping with `workloads`"),
        ("hello\n", "c.yaml: is a single value, must be a mapping with `workloads`"),
        ("a:\n\tb: 1\n", "c.yaml: line 2 is indented with a tab; use spaces"),
        (
            "a: 1\nb: c: 2\n",
            (
                "c.yaml: line 2 has a `:` where none belongs; check the indentation, "
                "and put text that holds `: ` in quotes"
            ),
        ),
        ("a: 1\nb\nc: 2\n", "c.yaml: line 3 lacks a `:` after a key"),
        ("a: 1\n---\nb: 2\n", "c.yaml: line 2 begins a second document; keep one"),
        (
            "a: [1, 2\nb: 3\n",
            "c.yaml: line 2 is not valid YAML: expected ',' or ']', but got ':'",
        ),
        ("a: *b\n", "c.yaml: line 1 is not valid YAML: found undefined alias 'b'"),
        ("a: &a [*a]\n", "c.yaml: line 1 is not valid YAML: an alias puts this value into itself"),
        (
            "a: !!python/name:os.system x\n",
            (
                "c.yaml: line 1 is not valid YAML: could not determine a constructor for the tag "
                "'tag:yaml.org,2002:python/name:os.system'"
            ),
        ),
        (
            "a:\n  b: 2024-13-45\n",
            "c.yaml: line 2 is not valid YAML: month must be in 1..12",
        ),
        (
            "a:\n  b: !!timestamp 99999-99-99\n",
            "c.yaml: line 2 is not valid YAML: 'NoneType' object has no attribute 'groupdict'",
        ),
        ("a: 1\nb: \x07\n", "c.yaml: line 2 holds a character that YAML does not allow; remove it"),
        (b"a: \xff\n", "c.yaml: is not UTF-8 text: byte 4 is wrong; save it as UTF-8"),
    ],
)
def test_a_file_that_is_no_config_is_refused_in_one_sentence(text: str | bytes, line: str) -> None:
    assert told(text) == line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: " + "[" * 5000 + "]" * 5000, "line 1 is not valid YAML: it is nested more than 32"),
        ("{a: " * 3000, "it is nested more than 32 deep"),
        ("- " * 3000 + "a", "it is nested more than 32 deep"),
        ("a:\n" + "- x\n" * (1 << 17), "it holds more than 131072 values"),
        ("a: &a [1, *b]\n", "found undefined alias"),
        ("a: " + ":".join(["59"] * 3000), "a number has more than 100 digits"),
        ("a: " + "9" * 5000, "a number has more than 100 digits"),
        (" " * (5 << 20), "is 5242880 bytes long, and 4194304 are believed"),
    ],
)
def test_what_is_too_much_for_a_config_is_refused_in_one_sentence(text: str, words: str) -> None:
    assert words in told(text)


@pytest.mark.parametrize("collection", ["[{}]", "{{<<: [{}]}}"])
def test_aliases_that_multiply_are_refused(collection: str) -> None:
    lines = ["a0: &a0 {k: v}"]
    for level in range(1, 10):
        aliases = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} {collection.format(aliases)}")
    assert "with its aliases it holds more than 131072 values" in told("\n".join(lines))


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "/proc/kmsg"])
def test_no_config_is_waited_for(kind: str) -> None:
    if kind == "pipe":
        os.mkfifo("c")
    else:
        Path("c").symlink_to(kind)
    with pytest.raises(ConfigError, match=r"is not a file|is empty"):
        load(Path("c"))


def test_a_file_that_cannot_be_read_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(ConfigError, match=r"^none.yaml: does not exist; name a config file"):
        load(Path("none.yaml"))
    with pytest.raises(ConfigError, match=r"^\.: is a directory; name a file in it$"):
        load(Path())
    # root may read everything, so that the permission itself would be no test
    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(ConfigError, match=r"^c.yaml: cannot be read by this user; give read perm"):
        load(Path("c.yaml"))


def test_json_indented_with_tabs_is_a_config() -> None:
    Path("c.json").write_text(json.dumps(with_app(), indent="\t"))
    assert load(Path("c.json")).workloads["app"].epochs == 1


def test_a_merge_key_may_be_overridden_without_being_a_duplicate() -> None:
    Path("c.yaml").write_text(
        f"workloads:\n  a: &a {APP}\n  b: &b {{<<: *a, epochs: 2}}\n  c: {{<<: *b, epochs: 3}}\n"
    )
    epochs = [workload.epochs for workload in load(Path("c.yaml")).workloads.values()]
    assert epochs == [1, 2, 3]


def test_two_workloads_of_one_name_are_told_with_their_lines() -> None:
    text = f"workloads:\n  a: {APP}\n  b: {APP}\n  a: {APP}\n"
    assert told(text) == "c.yaml: workloads.a: is given 2 times, on lines 2 and 4; keep one"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (
            {"run": ["no-such-program"]},
            "run: `no-such-program` is not found on PATH; install it, or correct the name",
        ),
        ({"run": "bin/app"}, "run: `bin/app` is not found in {here}; correct the path"),
        ({"run": "/no/app"}, "run: `/no/app` is not found; correct the path"),
        (
            {"run": "python3 -V"},
            "run: `python3 -V` is not a program; give its arguments in a list: [python3, -V]",
        ),
        (
            {"run": ["plain"]},
            "run: `plain` is not found on PATH; for the file here write `./plain`",
        ),
        (
            {"check": ["./plain", 1]},
            "check: `./plain` is not executable; run `chmod +x ./plain`",
        ),
        (
            {"advance": {"command": "/"}},
            "advance.command: `/` is a directory, not a program",
        ),
        (
            {"run": ["plain"], "env": {"PATH": "{here}"}},
            "run: `{here}/plain` is not executable; run `chmod +x {here}/plain`",
        ),
    ],
)
def test_a_command_that_cannot_be_run_is_told(here: Path, keys: dict[str, Any], line: str) -> None:
    Path("plain").write_text("")
    text = yaml.safe_dump(with_app(**keys)).replace("{here}", str(here))
    expected = f"c.yaml: workloads.app.{line}".replace("{here}", str(here))
    assert told(text) == expected


def test_a_program_is_found_on_the_path_that_the_workload_gets(here: Path) -> None:
    (here / "mine").write_text("")
    (here / "mine").chmod(0o755)
    resolve(with_app(run=["mine"], env={"PATH": str(here)}), [])


@given(st.text(alphabet="ab:- \n[]{}#&*!|>'\"%@`,?<0123456789"))
def test_no_text_that_is_not_yaml_escapes_our_own_words(text: str) -> None:
    source = parsed("c.yaml", text)
    assert source.data is not None or len(source.mistakes) == 1
    assert all("\n" not in each.text for each in source.mistakes)
