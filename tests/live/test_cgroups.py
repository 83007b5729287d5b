"""Workloads whose control group is frozen by somebody else, as `docker pause` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cgroup import new_cgroup

from tidemark.errors import AttachError

if TYPE_CHECKING:
    from stage import Stage


def test_a_workload_that_is_frozen_within_an_epoch_is_dumped_all_the_same(
    bare_stage: Stage,
) -> None:
    bare_stage.declared = {"tracker": "auto"}
    leader = bare_stage.start()
    window = leader.anonymous(16)
    leader.fill(window)
    bare_stage.baseline()
    with new_cgroup() as group:
        group.add(leader.pid)
        with bare_stage.epoch() as epoch:
            leader.store(window, 3)
            group.freeze()
        assert 3 in epoch.region.dirty | epoch.region.suspect
        with bare_stage.epoch():
            group.freeze(frozen=False)
            leader.store(window, 4)
    assert [found["different"] for found in bare_stage.verify_all()] == [0, 0, 0]


def test_a_process_in_a_frozen_group_is_refused_and_attached_to_when_it_is_thawed(
    bare_stage: Stage,
) -> None:
    program = bare_stage.program()
    window = program.anonymous(16)
    program.fill(window)
    with new_cgroup() as group:
        group.add(program.pid)
        group.freeze()
        with pytest.raises(AttachError, match="frozen by its control group"):
            bare_stage.attach(program, tracker="auto")
        group.freeze(frozen=False)
        program.store(window, 3)
    bare_stage.attach(program, tracker="auto")
    with bare_stage.epoch():
        program.store(window, 4)
    assert bare_stage.verify_all()[0]["different"] == 0
