"""A call of the system that fails once harms nobody: a sample; `make faults` tries each call."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
import sweep
from points import ERRORS, Point, points_of, sample

if TYPE_CHECKING:
    from pathlib import Path

_COUNT = int(os.environ.get("FAULTS", "5"))
"""How many faults of each sweep; some seconds each. FAULTS_TURN takes others."""

pytestmark = pytest.mark.live


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not there")
@pytest.mark.parametrize("name", sweep.SWEEPS)
def test_a_fault_leaves_the_chain_sound_the_program_running_and_the_next_attempt_whole(
    name: str, tmp_path: Path
) -> None:
    turn = int(os.environ.get("FAULTS_TURN", "0"))
    result = sweep.sweep(name, tmp_path, _COUNT, turn)
    assert not result.harm
    assert result.points >= _COUNT
    assert result.outcomes.total() == result.points


TRACE = [
    'openat(AT_FDCWD, "/usr/lib/libc.so.6", O_RDONLY) = 3',
    'openat(AT_FDCWD, "/x/src/tidemark/cli/keep.py", O_RDONLY) = 3',
    "getpid() = 5",
    'openat(AT_FDCWD, "/tmp/x", O_RDWR) = 3',
    "--- SIGCHLD ---",
    "12 fsync(3</tmp/x>) = 0",
]


def test_a_point_is_a_call_of_its_kind_that_can_fail_once_our_program_has_begun() -> None:
    found = points_of(TRACE)
    assert [str(point) for point in found if point.error == "EIO"] == [
        "openat 2 EIO",
        "openat 3 EIO",
        "fsync 1 EIO",
    ]
    assert {point.error for point in found} == set(ERRORS)
    assert found[-1].injection == "inject=fsync:error=ENOSPC:when=1"


def test_a_sample_takes_in_turns_every_point() -> None:
    points = [Point("read", number, "EIO") for number in range(1, 41)]
    taken = {point for turn in range(10) for point in sample(points, 4, turn)}
    assert taken == set(points)
    assert len(sample(points, 4)) == 4
