"""Without privileges, and with any tracker that the machine has."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from actors import CLONE_A_THREAD, CLONE_UNTRACED, SIGCHLD, Window
from stage import Stage

from tidemark.keeper.births import Births

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WITHOUT = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--")


@pytest.fixture
def powerless(actor_program: Path, tmp_path: Path, mark: str, root: None) -> Iterator[Stage]:  # noqa: ARG001
    """Return a stage whose keeper is run by root, who has no capabilities."""
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv")
    with Stage(tmp_path, actor_program, mark, WITHOUT) as stage:
        yield stage


def take_through(stage: Stage) -> None:
    """Take a workload through epochs in which it stores, forks, and a child ends."""
    stage.declared = {"tracker": "auto"}
    leader = stage.start()
    window = leader.anonymous(64)
    leader.fill(window)
    stage.baseline()
    for page in (3, 30):
        with stage.epoch() as epoch:
            leader.store(window, page)
            child = leader.fork()
            child.store(window, page + 1)
            child.exit()
            leader.reap(child)
        assert {page, page + 1} <= epoch.region.dirty | epoch.region.suspect
    for found in stage.verify_all():
        assert (found["different"], found["missed"]) == (0, 0), found


def test_a_plain_user_is_served_by_whatever_tracker_there_is(bare_plain: Stage) -> None:
    take_through(bare_plain)


def test_root_without_capabilities_is_served_by_whatever_tracker_there_is(
    powerless: Stage,
) -> None:
    take_through(powerless)


@pytest.mark.parametrize("flags", [SIGCHLD, CLONE_A_THREAD], ids=["child", "thread"])
def test_without_reports_of_births_what_lives_unfollowed_is_found(
    powerless: Stage, flags: int
) -> None:
    leader = powerless.start()
    window = leader.anonymous(64)
    leader.fill(window)
    powerless.baseline()
    assert powerless.ask("status")["follows"] == "ptrace"
    assert "CLONE_UNTRACED" in (powerless.directory / "keeper.log").read_text()
    with powerless.epoch() as epoch:
        made = leader.clone(CLONE_UNTRACED | flags)
        made.store(window, 5)
    assert 5 in epoch.region.dirty | epoch.region.suspect
    with powerless.epoch() as epoch:
        made.store(window, 6)
    assert epoch.exact == {6}


def test_the_status_says_by_what_births_are_known(stage: Stage) -> None:
    births = Births()
    births.close()
    stage.start().anonymous(1)
    stage.ready()
    assert stage.ask("status")["follows"] == ("ptrace" if births.lacking else "ptrace+reports")


def test_pages_that_nobody_mapped_for_a_while_are_saved_when_somebody_does(plain: Stage) -> None:
    leader = plain.start()
    window = leader.anonymous(32)
    leader.fill(window)
    plain.baseline()
    with plain.epoch() as epoch:
        leader.unmap(Window(window.at(4), 4, 8))
    assert not epoch.region.used & set(range(4, 12))
    with plain.epoch() as epoch:
        leader.remap(Window(window.address, 0, 4), 12, 0)
        assert leader.load(window, 7), "it held its content"
    assert set(range(4, 12)) <= epoch.region.dirty | epoch.region.suspect
    for found in plain.verify_all():
        assert (found["different"], found["missed"]) == (0, 0), found
