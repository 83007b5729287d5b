"""Torture within bounds, and whether it would find what it is there to find."""

from __future__ import annotations

import secrets
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from mutations import MUTATIONS, ROOT, Mutation, mutant
from operations import WEIGHTS, Operation
from torture import Rack, build, shorten, torture

from tidemark.native.probe import probe_tracker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

OPERATIONS = 50_000
"""For each tracker and seed."""

FRESH = secrets.randbits(32)


def tracker(name: str) -> str:
    lacking = None if name == "content" else probe_tracker(name)
    if lacking:
        pytest.skip(f"no {name}: {lacking}")
    return name


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("torture"))


@pytest.mark.parametrize("seed", [1, 2, "fresh", "fresher"])
@pytest.mark.parametrize("name", ["uffd-wp", "soft-dirty"])
def test_no_page_is_lost_whatever_is_done_to_it(
    program: Path, name: str, seed: int | str, capsys: pytest.CaptureFixture[str]
) -> None:
    number = seed if isinstance(seed, int) else FRESH + len(seed)
    tally = torture(Rack(program, tracker(name)), number, OPERATIONS)
    with capsys.disabled():
        sys.stdout.write(f"\n{tally.line(name, number)}\n")
    assert tally.operations == OPERATIONS
    assert tally.lost == 0
    assert tally.precision >= 0.95


def test_no_page_is_lost_without_a_tracker(program: Path) -> None:
    tally = torture(Rack(program, "content"), FRESH, 10_000)
    assert tally.lost == 0
    assert tally.precision == 1.0, "what is compared is known"


def test_every_operation_is_done(program: Path) -> None:
    from group import Group

    for verb in WEIGHTS:
        assert hasattr(Group, f"_{verb}"), verb
    assert program.exists()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_torture_finds_that(mutation: Mutation, tmp_path: Path) -> None:
    tracker("uffd-wp")
    python = mutant(mutation, tmp_path)
    where = "import tidemark, tidemark._native as n; print(tidemark.__file__, n.__file__)"
    imported = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True)
    assert all(path.startswith(f"{tmp_path}/") for path in imported.stdout.split())
    command: list[str | Path] = [
        python,
        tmp_path / "tests/torture/torture.py",
        "--no-shorten",
        "--seed",
        "1",
    ]
    done = subprocess.run(
        [*command, "--operations", "300000"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    # What is put in its place wrongly can be seen even before it is lost.
    assert "not in the dump" in done.stderr or "which it does not show" in done.stderr


def test_the_mutations_are_of_what_is_there() -> None:
    for mutation in MUTATIONS:
        assert (ROOT / mutation.path).read_text().count(mutation.old) == 1, mutation.name


def test_a_sequence_is_shortened_to_what_it_takes() -> None:
    noise = [Operation("load", number) for number in range(100)]
    needed = [Operation("store", 17), Operation("exit", 3), Operation("unmap", 99)]
    for place, operation in enumerate(needed):
        noise.insert(40 * place + 3, operation)

    def loses(candidate: Sequence[Operation]) -> bool:
        return all(operation in candidate for operation in needed)

    assert shorten(noise, loses) == needed
