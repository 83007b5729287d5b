"""Whether the nets have holes: each way in which the tracking is broken has to be found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from mutant import mutant
from mutations import MUTATIONS, ROOT, Mutation, NativeTest, Test, Torture

from tidemark.native.probe import probe_tracker

if TYPE_CHECKING:
    from pathlib import Path

MOST_OPERATIONS = 100_000

FEW = [mutation for mutation in MUTATIONS if not mutation.racy][3::4]
CHOSEN = MUTATIONS if os.environ.get("MUTATIONS") == "all" else FEW
"""A few of them, of all kinds; `make mutations` takes all."""


@pytest.mark.serial
@pytest.mark.parametrize("mutation", CHOSEN, ids=lambda mutation: mutation.name)
def test_what_is_broken_is_found(
    mutation: Mutation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if lacking := probe_tracker("uffd-wp"):
        pytest.skip(f"no uffd-wp: {lacking}")
    python = mutant(mutation, tmp_path)
    check_copy(python, tmp_path)
    match mutation.found_by:
        case Torture() as torture:
            found = found_by_torture(torture, python, tmp_path)
        case Test() as test:
            found = found_by_test(test, python, tmp_path)
        case NativeTest() as native:
            found = found_by_native_test(native, tmp_path)
    with capsys.disabled():
        sys.stdout.write(f"\n{mutation.name}: found by {mutation.found_by}, {found}\n")


def check_copy(python: Path, directory: Path) -> None:
    """Check that it is the copy of which the tests are."""
    where = "import tidemark; print(tidemark.__file__)"
    imported = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True)
    assert imported.stdout.startswith(f"{directory}/")


def found_by_torture(torture: Torture, python: Path, directory: Path) -> str:
    """Have the torture look for it; return after how many operations it was found."""
    script = directory / "tests/torture/torture.py"
    words = ["--no-shorten", "--seed", "1", "--mode", torture.mode, "--per-epoch", "100"]
    words += ["--only", ",".join(torture.verbs), "--operations", f"{MOST_OPERATIONS}"]
    done = run([python, script, *words], directory)
    assert done.returncode == 1, done.stdout + done.stderr
    # What is put in its place wrongly can be seen even before it is lost.
    assert "not in the dump" in done.stderr or "which it does not show" in done.stderr
    after = re.search(r"after (\d+) operations", done.stderr)
    assert after is not None, done.stderr
    return f"after {after[1]} operations"


def found_by_test(test: Test, python: Path, directory: Path) -> str:
    """Have one test look for it: it has to fail."""
    for attempt in range(test.attempts):
        done = run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", test.node], directory)
        if done.returncode == 1 and "1 failed" in done.stdout:
            return f"in attempt {attempt + 1}"
        assert done.returncode == 0, done.stdout + done.stderr
    pytest.fail(f"{test} passes, with what it is there to find")


def found_by_native_test(test: NativeTest, directory: Path) -> str:
    """Have a native test look for it: it has to fail."""
    built = directory / "build" / "native" / "tests" / f"test_{test.name}"
    done = run([built], directory)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr.strip().rpartition("failed: ")[2]


def run(command: list[str | Path], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_is_of_what_is_there(mutation: Mutation) -> None:
    assert (ROOT / mutation.path).read_text().count(mutation.old) == 1
    if isinstance(mutation.found_by, Test):
        path, _, name = mutation.found_by.node.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / path).read_text()
