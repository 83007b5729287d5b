"""Small cases, which hypothesis makes up and shortens by itself."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from by_epochs import Judge
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from operations import WEIGHTS, Operation
from staging import Setting, build, new_stage
from tally import Tally

from tidemark.native.probe import probe_tracker

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = st.integers(0, 255)
OPERATIONS = st.builds(Operation, st.sampled_from(sorted(WEIGHTS)), NUMBERS, NUMBERS, NUMBERS)


def machine(program: Path, tracker: str) -> type[RuleBasedStateMachine]:
    """Return a machine whose every run is a group of processes of its own."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self._resources = ExitStack()
            self._tally = Tally()

        @initialize()
        def begin(self) -> None:
            stage = self._resources.enter_context(new_stage(Setting(program, tracker)))
            self._judge = self._resources.enter_context(Judge(stage, self._tally))
            with self._judge.epoch():
                pass

        @rule(operations=st.lists(OPERATIONS, min_size=1, max_size=12))
        def go_through_an_epoch(self, operations: list[Operation]) -> None:
            with self._judge.epoch():
                for operation in operations:
                    self._judge.group.do(operation)

        def teardown(self) -> None:
            self._resources.close()

    return Machine


@pytest.mark.serial
@pytest.mark.parametrize("tracker", ["uffd-wp", "soft-dirty", "content"])
def test_no_page_is_lost_in_small_cases(
    tmp_path_factory: pytest.TempPathFactory, tracker: str
) -> None:
    lacking = None if tracker == "content" else probe_tracker(tracker)
    if lacking:
        pytest.skip(f"no {tracker}: {lacking}")
    program = build(tmp_path_factory.mktemp("machine"))
    run_state_machine_as_test(
        machine(program, tracker),
        settings=settings(
            max_examples=12,
            stateful_step_count=8,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
