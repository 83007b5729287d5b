"""Every mistake that a config can hold, and the very line that is said about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tidemark.config import generate, load, resolve
from tidemark.config.models import WorkloadSection
from tidemark.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

APP: dict[str, Any] = {"run": ["python3"], "epochs": 1, "advance": {"seconds": 1}}
ATTACHED: dict[str, Any] = {"attach": {"pid": 1}, "epochs": 1, "advance": {"seconds": 1}}

ONE_WORKLOAD = "`epochs` and `advance`, exactly one of `run` or `attach`"
ONE_ADVANCE = "exactly one of `steps`, `seconds` or `command`"
WORKLOAD_KEYS = (
    "`run`, `attach`, `epochs`, `advance`, `tracker`, `audit`, `strict`, `drop_unchanged`, `live`, "
    "`ready`, `stand`, `timeout`, `stop`, `check`, `env` and `resources`"
)
NAME_RULE = "a name is a letter, then letters, digits, `_` and `-`; rename the workload"
STARTED_ONLY = "is only for a workload with `run`; remove it"
BEYOND_JSON = ("YAML does not read", "must be a finite number", "holds a NUL")
"""Mistakes that a JSON schema has no words for."""


def _in_app(line: str) -> str:
    return f"workloads.app{line}" if line.startswith(":") else f"workloads.app.{line}"


TOP: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["workloads: is missing, must be a mapping of names to workloads"]),
    ({"workloads": {}}, ["workloads: is an empty mapping, must have at least 1 entry"]),
    ({"workloads": None}, ["workloads: is empty, must be a mapping of names to workloads"]),
    ({"workloads": [APP]}, ["workloads: is a list, must be a mapping of names to workloads"]),
    ({"workload": {"app": APP}}, ["workload: unknown key; did you mean `workloads`?"]),
    (
        {"workloads": {"app": APP}, "cores": 4},
        ["cores: unknown key; the keys here are `results`, `live_threads`, `live` and `workloads`"],
    ),
    (
        {"workloads": {"app": None}},
        [f"workloads.app: is empty, must be a mapping with {ONE_WORKLOAD}"],
    ),
    ({"workloads": {"9x": APP}}, [f"workloads.9x: {NAME_RULE}"]),
    ({"workloads": {"a.b": APP}}, [f"workloads.a.b: {NAME_RULE}"]),
    ({"workloads": {"größe": APP}}, [f"workloads.größe: {NAME_RULE}"]),
    (
        {"workloads": {"a" * 65: APP}},
        [f"workloads.{'a' * 65}: a name has at most 64 characters; rename the workload"],
    ),
    (
        {"workloads": {"run": APP}},
        ["workloads.run: this name is taken by a directory of every run; rename the workload"],
    ),
    (
        {"workloads": {False: APP}},
        ["workloads.false: YAML does not read this name as text; put it in quotes"],
    ),
    ({"workloads": {"app": APP}, "results": 5}, ["results: is 5, must be text; put it in quotes"]),
    ({"workloads": {"app": APP}, "results": ""}, ['results: is "", must be a path']),
    (
        {"workloads": {"app": APP}, "results": "out/{w}"},
        ['results: is "out/{w}", must be a path without `{`'],
    ),
    ({"workloads": {"app": APP}, "live_threads": 0}, ["live_threads: is 0, must be at least 1"]),
    (
        {"workloads": {"app": APP}, "live_threads": "2"},
        ['live_threads: is "2", must be a whole number; write 2 without quotes'],
    ),
]

IN_APP: list[tuple[dict[str, Any], list[str]]] = [
    ({"epochs": -1}, ["epochs: is -1, must be at least 1"]),
    ({"epochs": 2.5}, ["epochs: is 2.5, must be a whole number"]),
    ({"epochs": True}, ["epochs: is true, must be a whole number"]),
    ({"epochs": "three"}, ['epochs: is "three", must be a whole number']),
    ({"epochs": None}, ["epochs: is empty, must be a whole number"]),
    ({"epochs": [1]}, ["epochs: is a list, must be a whole number"]),
    (
        {"tracker": "uffdwp"},
        [
            (
                'tracker: is "uffdwp", must be `auto`, `uffd-wp`, `soft-dirty` or `content`; '
                "did you mean `uffd-wp`?"
            )
        ],
    ),
    ({"audit": 1.5}, ["audit: is 1.5, must be `off`, `full`, or a share from 0 to 1"]),
    ({"audit": True}, ["audit: is true, must be `off`, `full`, or a share from 0 to 1"]),
    ({"strict": "yes"}, ['strict: is "yes", must be true or false']),
    ({"drop_unchanged": 1}, ["drop_unchanged: is 1, must be true or false"]),
    ({"tracker": 5}, ["tracker: is 5, must be `auto`, `uffd-wp`, `soft-dirty` or `content`"]),
    ({"timeout": 0}, ["timeout: is 0, must be more than 0"]),
    ({"timeout": float("inf")}, ["timeout: is inf, must be a finite number"]),
    ({"timeout": float("nan")}, ["timeout: is nan, must be a finite number"]),
    ({"timeout": "1e-3"}, ['timeout: is "1e-3", must be a number; write 0.001 without quotes']),
    ({"advance": 10}, [f"advance: is 10, must be a mapping with {ONE_ADVANCE}"]),
    ({"advance": {}}, [f"advance: must have {ONE_ADVANCE}"]),
    ({"advance": {"steps": None}}, [f"advance: must have {ONE_ADVANCE}"]),
    ({"advance": {"step": 1}}, ["advance.step: unknown key; did you mean `steps`?"]),
    (
        {"advance": {"steps": 1, "seconds": 1}},
        [
            (
                f"advance: has `steps` and `seconds`, must have {ONE_ADVANCE}; "
                "remove the other, or set it to null"
            )
        ],
    ),
    (
        {"advance": {"steps": 1, "seconds": 1, "command": ["true"]}},
        [
            (
                f"advance: has `steps`, `seconds` and `command`, must have {ONE_ADVANCE}; "
                "remove the others, or set them to null"
            )
        ],
    ),
    ({"advance": {"steps": 0}}, ["advance.steps: is 0, must be at least 1"]),
    ({"advance": {"seconds": True}}, ["advance.seconds: is true, must be a number"]),
    (
        {"run": []},
        ["run: names no program, must be a list of words, or one program without arguments"],
    ),
    ({"run": 5}, ["run: is 5, must be a list of words, or one program without arguments"]),
    (
        {"run": ["python3", True]},
        ["run[1]: is true, must be text or a number; put the word in quotes"],
    ),
    ({"run": ["python3", ["-c"]]}, ["run[1]: is a list, must be text or a number"]),
    ({"run": ["python3", None]}, ["run[1]: is empty, must be text or a number"]),
    (
        {"run": ["python3", "a\0b"]},
        ["run[1]: holds a NUL character, which no program can be given; remove it"],
    ),
    ({"ready": {"step": False}}, ["ready.step: is false, must be true; remove the key instead"]),
    (
        {"ready": {"output": "(ready"}},
        [
            (
                'ready.output: is "(ready", must be a regular expression: '
                "missing ), unterminated subpattern at character 1"
            )
        ],
    ),
    ({"ready": {"output": 5}}, ["ready.output: is 5, must be text; put it in quotes"]),
    ({"ready": {}}, ["ready: must have exactly one of `step`, `output` or `seconds`"]),
    (
        {"stop": {"signal": "SIGINT"}},
        [
            (
                'stop.signal: is "SIGINT", must be `TERM`, `INT`, `HUP`, `QUIT`, `USR1`, `USR2` or '
                "`KILL`; did you mean `INT`?"
            )
        ],
    ),
    ({"stop": {"grace": -1}}, ["stop.grace: is -1, must be at least 0"]),
    ({"stop": None}, ["stop: is empty, must be a mapping with `signal` and `grace`"]),
    ({"stop": 5}, ["stop: is 5, must be a mapping with `signal` and `grace`"]),
    ({"env": []}, ["env: is an empty list, must be a mapping of names to values"]),
    (
        {"env": {"A B": 1}},
        ["env.A B: a variable is a letter or `_`, then letters, digits and `_`; rename it"],
    ),
    ({"env": {"A": True}}, ["env.A: is true, must be text or a number; put the word in quotes"]),
    ({"env": {1: "x"}}, ["env.1: YAML does not read this name as text; put it in quotes"]),
    ({"steps": 3}, ["steps: unknown key; it belongs in `advance`"]),
    ({"nonsense": 3}, [f"nonsense: unknown key; the keys here are {WORKLOAD_KEYS}"]),
    (
        {"attach": {"pid": 1}},
        [
            (
                ": has `run` and `attach`, must have exactly one of `run` or `attach`; "
                "remove the other, or set it to null"
            )
        ],
    ),
    ({"run": None}, [": must have exactly one of `run` or `attach`"]),
]

IN_ATTACHED: list[tuple[dict[str, Any], list[str]]] = [
    ({"attach": 5}, ["attach: is 5, must be a mapping with exactly one of `pid` or `pidfile`"]),
    ({"attach": {}}, ["attach: must have exactly one of `pid` or `pidfile`"]),
    (
        {"attach": {"pid": 1, "pidfile": "x"}},
        [
            (
                "attach: has `pid` and `pidfile`, must have exactly one of `pid` or `pidfile`; "
                "remove the other, or set it to null"
            )
        ],
    ),
    ({"attach": {"pid": 0}}, ["attach.pid: is 0, must be at least 1"]),
    ({"attach": {"pid": 5_000_000}}, ["attach.pid: is 5000000, must be at most 4194304"]),
    ({"attach": {"pidfile": 7}}, ["attach.pidfile: is 7, must be text; put it in quotes"]),
    ({"ready": {"step": True}}, [f"ready: {STARTED_ONLY}"]),
    ({"stop": {"grace": 1}}, [f"stop: {STARTED_ONLY}"]),
    (
        {"advance": {"steps": 1}},
        ["advance.steps: is only for a workload with `run`; advance by `seconds` or `command`"],
    ),
]

CASES = [
    *TOP,
    *(
        ({"workloads": {"app": base | change}}, [_in_app(line) for line in lines])
        for base, table in ((APP, IN_APP), (ATTACHED, IN_ATTACHED))
        for change, lines in table
    ),
]


def told(path: Path) -> list[str]:
    """Return the lines that loading ``path`` says, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    first, *rest = str(caught.value).splitlines()
    if rest:
        assert first == f"the config has {len(rest)} mistakes:"
    return [line.strip().removeprefix(f"{path}: ") for line in rest or [first]]


def written(directory: Path, value: object) -> Path:
    path = directory / "c.yaml"
    path.write_text(yaml.safe_dump(value, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.parametrize(("config", "lines"), CASES)
def test_a_mistake_is_told_in_exactly_these_words(
    tmp_path: Path, config: dict[str, Any], lines: list[str]
) -> None:
    assert told(written(tmp_path, config)) == lines


def schema_accepts(config: object) -> bool:
    jsonschema = pytest.importorskip("jsonschema", reason="comes with snakemake")
    validator = jsonschema.Draft202012Validator
    wanted = json.loads(generate.schema())
    return bool(validator(wanted, format_checker=validator.FORMAT_CHECKER).is_valid(config))


@pytest.mark.parametrize(
    ("config", "lines"),
    [case for case in CASES if not any(what in case[1][0] for what in BEYOND_JSON)],
)
def test_the_schema_refuses_what_the_models_refuse(config: object, lines: list[str]) -> None:
    assert lines
    assert not schema_accepts(config)


@pytest.mark.parametrize(
    "app",
    [
        APP,
        ATTACHED,
        APP | {"run": "python3", "check": "true", "ready": None, "attach": None},
        APP | {"advance": {"steps": 1, "seconds": None}, "ready": {"step": True}},
        ATTACHED | {"attach": {"pidfile": "a.pid", "pid": None}, "run": None},
        ATTACHED | {"advance": {"command": ["true", 1, 0.5]}, "check": ["true"]},
        APP | {"stop": {}, "env": {"A": 1, "_b": "x"}, "ready": {"output": "^ready$"}},
    ],
)
def test_the_schema_accepts_what_the_models_accept(app: dict[str, Any]) -> None:
    resolve({"workloads": {"app": app}}, [])
    assert schema_accepts({"workloads": {"app": app}})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


@given(VALUES, st.sampled_from(sorted(WorkloadSection.model_fields)), st.text())
def test_no_value_anywhere_escapes_our_own_words(value: object, key: str, other: str) -> None:
    for config in (
        {"workloads": {"app": APP | {key: value}}},
        {"workloads": {"app": ATTACHED | {key: value}}},
        {"workloads": {"app": APP | {key: {other: value}}}},
        {"workloads": {other: value}, key: value, "results": value, "live_threads": value},
    ):
        try:
            resolve(config, [])
        except ConfigError as error:
            assert "which does not belong here" not in str(error)  # noqa: PT017 - it may pass, too
            assert "pydantic" not in str(error).lower()  # noqa: PT017
