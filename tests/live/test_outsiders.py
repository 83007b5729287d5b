"""Who is not of the workload and may write its memory, as far as that can be known."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest
from stage import NOBODY

from tidemark.errors import KeeperError
from tidemark.files import read_json, write_json
from tidemark.steps import live

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors import Actor, Window
    from stage import Stage

PAGES = 16
ANOTHER = NOBODY - 1


def as_another() -> Sequence[str]:
    """Return the words that make a command one of a user whom the workload's may not look into."""
    return ("setpriv", f"--reuid={ANOTHER}", f"--regid={ANOTHER}", "--clear-groups", "--")


def share_by_name(stage: Stage, mode: int) -> tuple[Actor, Window, str]:
    leader, path = stage.start(), stage.shm_path()
    window = leader.map(leader.file(path, PAGES), PAGES)
    os.chmod(path, mode)  # noqa: PTH101 - the name that the actor gave it
    leader.fill(window)
    return leader, window, path


def test_what_a_process_that_may_not_be_inspected_could_open_is_suspect(plain: Stage) -> None:
    stranger = plain.program(prefix=as_another())
    leader, window, _ = share_by_name(plain, 0o666)
    plain.baseline()
    with plain.epoch() as epoch:
        leader.store(window, 3)
    assert epoch.region.reasons.get("uninspected") == set(range(PAGES))
    stranger.exit()


def test_what_was_written_by_a_process_that_may_not_be_inspected_is_found(plain: Stage) -> None:
    """It has the object open from before, so that nobody is told of it within the epoch."""
    leader, window, path = share_by_name(plain, 0o666)
    stranger = plain.program(prefix=as_another())
    view = stranger.map(stranger.open(path), PAGES)
    plain.baseline()
    with plain.epoch() as epoch:
        leader.store(window, 3)
        stranger.store(view, 5)
    assert 5 in epoch.region.suspect
    stranger.exit()


@pytest.mark.usefixtures("root")
def test_what_a_process_outside_held_when_an_epoch_began_is_suspect(verified: Stage) -> None:
    """It uses the descriptor and lets go of it: at the end nobody outside can write any more."""
    leader, stranger = verified.start(), verified.program()
    made = leader.memfd(PAGES)
    leader.fill(leader.map(made, PAGES))
    pidfd = stranger.call("pidfd_open", leader.pid, 0)
    theirs = stranger.call("pidfd_getfd", pidfd, made, 0)
    leader.close(made)
    verified.baseline()
    with verified.epoch() as epoch:
        stranger.pwrite(theirs, 3)
        stranger.close(theirs)
    assert epoch.region.reasons.get("foreign") == set(range(PAGES))


def test_what_a_process_outside_holds_at_the_end_of_an_epoch_is_suspect(verified: Stage) -> None:
    """A descriptor that lay in a socket when the epoch began is received and used, and held."""
    leader, stranger = verified.start(), verified.program()
    made = leader.memfd(PAGES)
    window = leader.map(made, PAGES)
    leader.fill(window)
    name = f"{verified.hall.name}-{secrets.token_hex(4)}"
    listening = stranger.ask("listen_at", name)
    line = leader.ask("connect_to", name)
    leader.ask("give", line, made)
    leader.close(made)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.store(window, 3)
        theirs = stranger.ask("take", stranger.call("accept4", listening, 0, 0, 0))
        stranger.pwrite(theirs, 5)
    assert epoch.region.reasons.get("foreign") == set(range(PAGES))


def test_outputs_of_another_life_are_not_sealed(stage: Stage) -> None:
    leader = stage.start()
    leader.fill(leader.anonymous(PAGES))
    stage.baseline()
    outputs = [stage.path(0, name) for name in ("clear.json", "advance.json")]
    write_json(outputs[1], read_json(outputs[1]) | {"life": "of another keeper"})
    with pytest.raises(KeeperError, match=r"advance\.json is of another run of workload stage"):
        live.seal(stage.keeper_json, outputs, stage.directory / "live.json")
    assert not (stage.directory / "live.json").exists()
