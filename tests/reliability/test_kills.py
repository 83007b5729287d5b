"""Nobody is harmed by the end of a keeper, whenever that is."""

from __future__ import annotations

import os
import secrets
import shutil
from typing import TYPE_CHECKING

import pytest
from kills import KINDS, kill_keepers

from tidemark.native.probe import probe_tracker

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.live

KILLS = 30
"""Of each kind of program; as many as one likes by hand: docs/reliability.md."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_runs_on_whenever_its_keeper_is_killed(tmp_path: Path, kind: str) -> None:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    if lacking := probe_tracker("uffd-wp"):
        pytest.skip(f"no uffd-wp: {lacking}")
    if kind in {"filtered", "denied"} and os.geteuid() != 0:
        pytest.skip("only root may suspend filters of system calls")
    seed = secrets.randbits(32)
    tally = kill_keepers([kind], KILLS, seed, tmp_path)
    assert (tally.kills + tally.refused, tally.harmed) == (KILLS, 0), f"seed {seed}"
    assert tally.within > KILLS / 3, "most are killed within what they do"
