"""What goes wrong with a workload is told in one sentence, and leaves nothing behind."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from system import SA_RESTART

from tidemark.errors import WorkloadError
from tidemark.steps import live

if TYPE_CHECKING:
    from pathlib import Path

    from actors import Actor, Window
    from stage import Stage

SHELL = ["/bin/sh", "-c"]
STEPS = {"steps": 2, "seconds": None, "command": None}
NEVER = {"step": None, "output": "^never$", "seconds": None}


@pytest.fixture
def nothing_left(stage: Stage) -> object:
    """Nothing of the workload may be there when the test is over."""
    yield
    stage.check_nothing_left()


pytestmark = pytest.mark.usefixtures("nothing_left")


def failure(stage: Stage, **declared: object) -> str:
    with pytest.raises(WorkloadError) as failed:
        stage.launch(**declared)
    return sentence(failed.value)


def sentence(error: WorkloadError) -> str:
    assert error.exit_code == 4
    text = str(error)
    assert "\n" not in text
    return text


def prepare(stage: Stage, **declared: object) -> tuple[Actor, Window]:
    leader = stage.start(**declared)
    window = leader.anonymous(4)
    leader.fill(window)
    stage.ready()
    return leader, window


def advance(stage: Stage) -> str:
    with pytest.raises(WorkloadError) as failed:
        live.advance(stage.keeper_json, 0, stage.path(0, "advance.json"))
    return sentence(failed.value)


# Before the first epoch


def test_a_command_that_is_missing(stage: Stage) -> None:
    assert failure(stage, run=["/nowhere/program"]) == (
        "cannot execute /nowhere/program: No such file or directory; check its path and permissions"
    )


def test_a_command_that_may_not_be_executed(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_text("text")
    assert failure(stage, run=[str(path)]) == (
        f"cannot execute {path}: Permission denied; check its path and permissions"
    )


def test_a_command_that_exits_at_once(stage: Stage) -> None:
    assert failure(
        stage, run=[*SHELL, "echo one; echo two; echo three; echo four >&2; exit 3"]
    ) == (
        "workload stage exited with code 3 before it was ready; "
        "it printed: two | three | four; run its command by hand to see why"
    )


def test_a_command_that_is_killed_at_once(stage: Stage) -> None:
    assert failure(stage, run=[*SHELL, "kill -ILL $$"]) == (
        "workload stage was killed by SIGILL before it was ready; "
        "run its command by hand to see why"
    )


def test_a_command_that_is_killed_by_a_signal_without_a_name(stage: Stage) -> None:
    number = int(signal.SIGRTMIN) + 3
    assert failure(stage, run=[*SHELL, f"kill -{number} $$"]) == (
        f"workload stage was killed by signal {number} before it was ready; "
        "run its command by hand to see why"
    )


def test_a_command_that_shares_no_memory(stage: Stage) -> None:
    ready = {"step": None, "output": None, "seconds": 0.1}
    assert failure(stage, run=["/bin/sleep", "1000"], ready=ready) == (
        "workload stage shares no memory: none of its 1 processes maps any with MAP_SHARED; "
        "check its command, or say in `ready` when it does"
    )


def test_a_command_that_never_shares_memory(stage: Stage) -> None:
    assert failure(stage, run=["/bin/sleep", "1000"], timeout=0.1) == (
        "workload stage shared no memory within 0.1 s; check its command, or raise `timeout`"
    )


def test_a_command_that_never_prints_that_it_is_ready(stage: Stage) -> None:
    run = [*SHELL, "echo almost; exec sleep 1000"]
    assert failure(stage, run=run, ready=NEVER, timeout=0.3) == (
        "workload stage printed no line that matches '^never$' within 0.3 s; "
        "it printed: almost; check its command, or raise `timeout`"
    )


def test_a_command_that_never_asks_for_its_first_step(stage: Stage) -> None:
    assert failure(stage, run=["/bin/sleep", "1000"], advance=STEPS, timeout=0.1) == (
        "workload stage did not ask for its first step (on the descriptor in TIDEMARK_STEP_FD) "
        "within 0.1 s; check its command, or raise `timeout`"
    )


# Within an epoch


def test_a_workload_that_never_reaches_its_step(stage: Stage) -> None:
    leader = stage.start(
        advance=STEPS, ready={"step": True, "output": None, "seconds": None}, timeout=0.5
    )
    leader.fill(leader.anonymous(1))
    leader.begin("step")
    stage.launched()
    stage.ask("clear", epoch=0)
    assert advance(stage) == (
        "workload stage did not finish 2 steps (it is at its 1.) within 0.5 s; "
        "raise `timeout`, or ask for less in `advance`"
    )


def test_a_workload_that_exits_within_an_epoch(stage: Stage) -> None:
    leader, _ = prepare(stage)
    stage.ask("clear", epoch=0)
    leader.exit(7)
    assert advance(stage) == (
        "workload stage exited with code 7 within an epoch; it printed: ready; "
        "declare fewer epochs, or let it run longer"
    )


def test_a_workload_that_is_killed_within_an_epoch(stage: Stage) -> None:
    leader, _ = prepare(stage)
    stage.ask("clear", epoch=0)
    stage.kill(leader)
    assert advance(stage) == (
        "workload stage was killed by SIGKILL within an epoch; it printed: ready; "
        "declare fewer epochs, or let it run longer"
    )


def test_an_advance_command_that_fails(stage: Stage) -> None:
    command = [*SHELL, "echo no luck; exit 5"]
    prepare(stage, advance={"steps": None, "seconds": None, "command": command})
    stage.ask("clear", epoch=0)
    assert advance(stage) == (
        "the advance command /bin/sh -c echo no luck; exit 5 exited with code 5; "
        f"it printed: no luck; its output is in {stage.directory / 'command.log'}"
    )


def test_an_advance_command_that_is_missing(stage: Stage) -> None:
    prepare(stage, advance={"steps": None, "seconds": None, "command": ["/nowhere/driver"]})
    stage.ask("clear", epoch=0)
    assert advance(stage) == (
        "cannot execute /nowhere/driver: No such file or directory; check its path and permissions"
    )


def test_an_advance_command_that_never_ends(stage: Stage) -> None:
    command = ["/bin/sleep", "1000"]
    prepare(stage, advance={"steps": None, "seconds": None, "command": command}, timeout=0.5)
    stage.ask("clear", epoch=0)
    assert advance(stage) == (
        "workload stage did not finish its advance command /bin/sleep 1000 within 0.5 s; "
        "it printed: ready; raise `timeout`, or ask for less in `advance`"
    )


# At the end


def sealed(stage: Stage) -> str:
    with pytest.raises(WorkloadError) as failed:
        live.seal(stage.keeper_json, [], stage.directory / "live.json")
    return sentence(failed.value)


def test_a_check_that_fails(stage: Stage) -> None:
    prepare(stage, check=[*SHELL, "echo damaged; exit 1"])
    assert sealed(stage) == (
        "the check /bin/sh -c echo damaged; exit 1 exited with code 1; "
        f"it printed: damaged; its output is in {stage.directory / 'command.log'}"
    )


def test_a_check_that_never_ends(stage: Stage) -> None:
    prepare(stage, check=["/bin/sleep", "1000"], timeout=0.5)
    assert sealed(stage) == (
        "the check /bin/sleep 1000 did not end in time; "
        f"its output is in {stage.directory / 'command.log'}"
    )


def test_a_workload_that_finds_itself_damaged_at_its_end(stage: Stage) -> None:
    run = [*SHELL, 'trap "echo page 7 is damaged; exit 1" TERM; "$@" & wait', "sh"]
    ready = {"step": None, "output": None, "seconds": 0.1}
    leader = stage.start(run=[*run, *stage.actor_command("actor-1")], ready=ready)
    leader.fill(leader.anonymous(1))
    stage.launched()
    assert sealed(stage) == (
        "workload stage exited with code 1 when it was asked to stop; "
        f"it printed: page 7 is damaged; its output is in {stage.directory / 'output.log'}"
    )


def test_a_workload_that_does_not_end_when_it_is_asked_to(stage: Stage) -> None:
    leader = stage.start(stop={"signal": "INT", "grace": 0.2})
    leader.fill(leader.anonymous(1))
    leader.ask("handle", signal.SIGINT, 0)
    stage.ready()
    assert sealed(stage).startswith(
        "workload stage did not end and had to be killed when it was asked to stop; "
        "it printed: ready; its output is in "
    )


def test_a_workload_that_ends_well(stage: Stage) -> None:
    prepare(stage, check=["/bin/true"])
    with stage.epoch():
        pass
    answer = stage.ask("seal")
    assert answer["exit"] == {"code": None, "signal": signal.SIGTERM}
    assert answer["check"] == {"argv": ["/bin/true"], "exit_code": 0}
    stage.wait_for_keeper()


def test_a_workload_whose_processes_are_born_and_end_after_the_last_epoch(stage: Stage) -> None:
    leader, _ = prepare(stage)
    with stage.epoch():
        leader.ask("handle", signal.SIGTERM, SA_RESTART)
    sealing = stage.begin("seal")
    child = leader.fork()
    child.exit()
    leader.reap(child)
    leader.exit()
    assert sealing.result()["exit"] == {"code": 0, "signal": None}
    stage.wait_for_keeper()


def test_steps_that_are_asked_for_are_granted_and_counted(stage: Stage) -> None:
    leader = stage.start(advance=STEPS, ready={"step": True, "output": None, "seconds": None})
    window = leader.anonymous(8)
    leader.fill(window)
    leader.begin("step")
    stage.launched()
    for epoch in range(2):
        stage.ask("clear", epoch=epoch)
        running = stage.begin("advance", epoch=epoch)
        for step in range(2):
            assert chr(leader.end()[0]) == "g"
            leader.store(window, 2 * epoch + step)
            leader.begin("step")
        assert running.result()["steps"] == 2
        stage.ask("collect", epoch=epoch)
    sealing = stage.begin("seal")
    assert chr(leader.end()[0]) == "s"
    leader.exit()
    assert sealing.result()["exit"] == {"code": 0, "signal": None}
    stage.wait_for_keeper()
