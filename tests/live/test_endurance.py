"""Keepers under a load that lasts, for a moment: benchmarks/endurance.py does it for longer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "endurance.py"

pytestmark = pytest.mark.usefixtures("tracked", "mark")


def endure(*words: str) -> dict[str, Any]:
    """Run the script, which must not fail; return what it has seen."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_several_keepers_at_a_time_take_all_their_checkpoints() -> None:
    found = endure("keepers", "--count", "6", "--seconds", "3", "--every", "0.2")
    assert found["failures"] == []
    assert found["least"] > 1


def test_a_keeper_that_has_taken_many_checkpoints_is_as_large_as_before() -> None:
    found = endure("checkpoints", "--count", "120")
    assert found["failures"] == []
    assert found["checkpoints"] == 120


def test_many_processes_are_kept_beside_many_clients() -> None:
    found = endure("crowd", "--processes", "150", "--clients", "200")
    assert (found["processes"], found["clients"]) == (150, 200)
    assert found["failures"] == []
