"""What is told of waits for the keeper."""

from __future__ import annotations

import time

from tidemark.keeper.pace import Pace
from tidemark.keeper.watched import Watched


def busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_who_was_found_to_wait_may_have_waited_since_nobody_did() -> None:
    pace = Pace(Watched())
    busy(0.02)
    pace.looked(found=True)
    busy(0.01)
    pace.looked(found=True)
    assert pace.take() >= 0.02


def test_where_nobody_was_found_to_wait_nobody_has_waited() -> None:
    pace = Pace(Watched())
    busy(0.01)
    pace.looked(found=False)
    assert pace.take() == 0.0


def test_what_was_told_is_not_told_again() -> None:
    pace = Pace(Watched())
    busy(0.01)
    pace.looked(found=True)
    assert pace.take() > 0.0
    assert pace.take() == 0.0


def test_it_is_time_to_look_again_when_some_has_passed() -> None:
    pace = Pace(Watched())
    pace.looked(found=False)
    busy(0.005)
    assert pace.is_due()
