"""No write is lost: every case, with every tracker that the machine has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import guarantees
import oracle
import pytest
from guarantees import (
    CASES,
    EXACT,
    FULL,
    REFUSED,
    TRACKERS,
    UNREACHED,
    UNREPORTED,
    USER,
    Case,
    Outcome,
    Scene,
)

from tidemark.errors import UnsupportedError
from tidemark.files import read_json
from tidemark.native.probe import probe_tracker

if TYPE_CHECKING:
    from stage import Stage

    from results import Epoch


ALONE = {"descriptor_in_a_socket", "descriptor_of_an_event", "overlay"}
"""What is held there may be of any file: others' files are suspect meanwhile."""

PARAMETERS = [
    pytest.param(case, id=case.name, marks=[pytest.mark.serial] if case.name in ALONE else [])
    for case in CASES
]


@pytest.mark.parametrize("tracker", TRACKERS)
@pytest.mark.parametrize("case", PARAMETERS)
def test_no_write_is_lost(bare_stage: Stage, case: Case, tracker: str) -> None:
    stage = bare_stage
    lacking = None if tracker == "content" else probe_tracker(tracker)
    if lacking:
        pytest.skip(f"no {tracker}: {lacking}")
    go_through(stage, case, tracker, tracker)


@pytest.mark.parametrize("case", PARAMETERS)
def test_no_write_of_an_ordinary_user_is_lost(plain: Stage, case: Case) -> None:
    go_through(plain, case, "uffd-wp", USER)


def go_through(stage: Stage, case: Case, tracker: str, column: str) -> None:
    """Go through a case, and an epoch with an ordinary store; restore and compare all."""
    if case.outcomes[column].kind == UNREPORTED:
        pytest.skip("an ordinary user is told of no births")
    stage.declared = {"tracker": tracker}
    scene = Scene(stage)
    plot = case.plot(scene)
    next(plot)
    if case.outcomes[column].kind == REFUSED:
        with pytest.raises(UnsupportedError, match="only root may suspend; run as root"):
            stage.baseline()
        return
    stage.baseline()
    with stage.epoch() as epoch:
        assert next(plot, "the end") == "the end"
    check(stage, epoch, case.outcomes[column], tracker)
    with stage.epoch() as after:
        scene.leader.store(scene.window, 2)
    assert any(2 in r.dirty | r.suspect for r in after.regions.values())
    for found in stage.verify_all():
        assert (found["different"], found["missed"]) == (0, 0), found


def check(stage: Stage, epoch: Epoch, outcome: Outcome, tracker: str) -> None:
    """Check how the epoch's writes were found."""
    if outcome.testified and stage.testified(epoch):
        outcome = outcome.testified
    records = read_json(stage.path(epoch.number, "image") / "manifest.json")["regions"]
    accounts = {record["shmid"]: record for record in records}
    reasons = {r.partition(":")[0] for region in epoch.regions.values() for r in region.reasons}
    if tracker == "soft-dirty" and "reclaimed" not in outcome.reasons:
        reasons.discard("reclaimed")  # by whatever else goes on in the machine
    if outcome.kind == EXACT:
        assert reasons <= outcome.perhaps
    elif outcome.kind == UNREACHED:
        # Of what nobody maps nothing is read, by us neither: it is as if it were a hole.
        assert reasons == set()
        assert any(account["cleared"] for account in accounts.values())
    elif outcome.kind == FULL:
        assert any(account["full_reason"] for account in accounts.values())
    else:
        assert outcome.reasons <= reasons
        # A page that is dirty besides is dumped, and there is nothing left to settle.
        assert any(account["settled"] or account["present"] for account in accounts.values())
    for number, content in epoch.content.items():
        changed = oracle.changed(stage.epochs[0].content.get(number, {}), content)
        assert accounts[number]["present"] + accounts[number]["cleared"] >= len(changed)


def test_the_document_says_what_the_tests_say() -> None:
    assert guarantees.DOCUMENT.read_text() == guarantees.document()
