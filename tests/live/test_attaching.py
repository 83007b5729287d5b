"""A process that runs already is attached to, tracked, and left as if nothing had been."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from system import descriptors, is_alive, kill, maps, state, status, threads, wait_until

from tidemark.errors import AttachError, WorkloadError
from tidemark.files import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from actors import Actor, Window
    from stage import Stage

PAGES = 16


def running(stage: Stage) -> tuple[Actor, Window]:
    actor = stage.program()
    window = actor.anonymous(PAGES)
    actor.fill(window)
    return actor, window


def appearance(pid: int) -> object:
    """Return all by which a process at rest can tell that it was touched."""
    wait_until(lambda: all(state(tid) in "SZ" for tid in threads(pid)), "it is at rest")
    return (
        descriptors(pid),
        maps(pid),
        [
            [status(tid, name) for name in ("TracerPid", "SigBlk", "SigPnd", "ShdPnd", "Seccomp")]
            for tid in threads(pid)
        ],
        [state(tid) for tid in threads(pid)],
    )


def test_a_tree_of_processes_is_tracked_and_left_without_a_trace(verified: Stage) -> None:
    leader, window = running(verified)
    child = leader.fork()
    grandchild = child.fork()
    grandchild.fork("thread")
    everyone = [leader.pid, child.pid, grandchild.pid]
    before = [appearance(pid) for pid in everyone]
    verified.attach(leader)
    assert verified.ask("status")["processes"] == everyone
    with verified.epoch():
        pass
    with verified.epoch() as epoch:
        leader.store(window, 1)
        grandchild.store(window, 2)
    assert epoch.exact == {1, 2}
    assert maps(leader.pid) != "", "it is readable while it stands"
    verified.stop()
    wait_until(lambda: [appearance(pid) for pid in everyone] == before, "it is as before")
    leader.store(window, 3)


def test_a_sealed_workload_runs_on(verified: Stage) -> None:
    leader, window = running(verified)
    before = appearance(leader.pid)
    verified.attach(leader)
    with verified.epoch():
        leader.store(window, 1)
    answer = verified.ask("seal")
    assert answer["exit"] is None
    verified.wait_for_keeper()
    assert appearance(leader.pid) == before
    leader.store(window, 2)


def test_a_workload_is_found_by_its_pidfile(verified: Stage, tmp_path: Path) -> None:
    leader, window = running(verified)
    pidfile = tmp_path / "app.pid"
    pidfile.write_text(f"{leader.pid}\nsomething else\n")
    verified.launch(attach={"pid": None, "pidfile": str(pidfile)})
    with verified.epoch():
        leader.store(window, 1)


def test_a_process_whose_first_thread_has_ended_can_be_attached_to(verified: Stage) -> None:
    leader = verified.program()
    memory = leader.file(verified.shm_path(), PAGES)
    window = leader.map(memory, PAGES)
    leader.close(memory)
    leader.fill(window)
    thread = leader.fork("thread")
    leader.tell("call", "exit", 0)
    wait_until(lambda: state(leader.pid) == "Z", "the first thread ends")
    verified.attach(leader)
    with verified.epoch():
        pass
    with verified.epoch() as epoch:
        thread.store(window, 3)
    assert epoch.exact == {3}


def test_the_descriptors_of_a_process_whose_first_thread_has_ended_are_seen(
    verified: Stage,
) -> None:
    leader = verified.program()
    memory = leader.memfd(PAGES)
    leader.fill(leader.map(memory, PAGES))
    thread = leader.fork("thread")
    leader.tell("call", "exit", 0)
    wait_until(lambda: state(leader.pid) == "Z", "the first thread ends")
    verified.attach(leader)
    with verified.epoch():
        pass
    with verified.epoch() as epoch:
        thread.pwrite(memory, 3)
    assert epoch.region.reasons == {"descriptor": set(range(PAGES))}


def test_the_descriptors_of_a_thread_that_has_its_own_are_seen(verified: Stage) -> None:
    leader = verified.program()
    memory = leader.memfd(PAGES)
    leader.fill(leader.map(memory, PAGES))
    thread = leader.fork("thread")
    thread.call("unshare", 0x400)  # CLONE_FILES
    leader.close(memory)
    verified.attach(leader)
    with verified.epoch():
        pass
    with verified.epoch() as epoch:
        thread.pwrite(memory, 3)
    assert epoch.region.reasons == {"descriptor": set(range(PAGES))}


def test_a_program_that_forbids_our_system_calls_is_not_killed_by_them(verified: Stage) -> None:
    leader, window = running(verified)
    child = leader.fork()
    child.ask("forbid", 323, 9, 27)  # userfaultfd, mmap, mincore
    verified.attach(leader)
    with verified.epoch():
        pass
    with verified.epoch() as epoch:
        child.store(window, 3)
        leader.store(window, 4)
    assert is_alive(child.pid)
    assert {3, 4} <= epoch.region.dirty | epoch.region.suspect


def test_a_program_that_uses_userfaultfd_itself_is_settled_by_content(verified: Stage) -> None:
    leader, window = running(verified)
    leader.ask("protect_itself", window.address, window.bytes)
    verified.attach(leader)
    with verified.epoch():
        pass
    with verified.epoch() as epoch:
        leader.store(window, 3)
    assert [reason.partition(":")[0] for reason in epoch.region.reasons] == ["untracked"]


# As a plain user


@pytest.mark.usefixtures("root")
def test_a_plain_user_s_own_processes_are_tracked_without_privilege(plain: Stage) -> None:
    """Pages of anonymous memory are found by mincore, and read from the processes' memory."""
    leader = plain.program(prefix=plain.user)
    window = leader.anonymous(PAGES)
    leader.fill(window, 0, 8)
    child = leader.fork()
    before = [appearance(actor.pid) for actor in (leader, child)]
    plain.attach(leader)
    with plain.epoch() as epoch:
        pass
    assert epoch.region.used == set(range(8))
    with plain.epoch() as epoch:
        brief = leader.fork()
        brief.store(window, 5, 12)
        brief.exit()
        leader.reap(brief)
        child.store(window, 6)
    assert epoch.exact == {5, 6, 12}
    assert epoch.region.used == {*range(8), 12}
    plain.stop()
    wait_until(
        lambda: [appearance(actor.pid) for actor in (leader, child)] == before, "it is as before"
    )
    assert [found["different"] + found["missed"] for found in plain.verify_all()] == [0, 0]


@pytest.mark.parametrize("kind", ["memfd", "posix", "sysv"])
@pytest.mark.usefixtures("root")
def test_a_plain_user_s_memory_of_any_kind_is_dumped(plain: Stage, kind: str) -> None:
    leader = plain.start()
    if kind == "sysv":
        window = leader.attach_segment(leader.segment(PAGES), PAGES)
    else:
        memory = leader.memfd(PAGES) if kind == "memfd" else leader.file(plain.shm_path(), PAGES)
        window = leader.map(memory, PAGES)
        leader.close(memory)
    leader.fill(window)
    plain.baseline()
    with plain.epoch() as epoch:
        leader.store(window, 5)
    assert 5 in epoch.region.dirty
    if kind != "sysv":  # of which nobody without privilege can tell who attaches it
        assert epoch.exact == {5}
    assert [found["different"] + found["missed"] for found in plain.verify_all()] == [0, 0]


@pytest.mark.usefixtures("root")
def test_a_plain_user_s_memory_that_may_not_be_touched_is_dumped_all_the_same(plain: Stage) -> None:
    leader = plain.start()
    window = leader.anonymous(PAGES)
    leader.fill(window)
    leader.protect(window, 0)
    plain.baseline()
    assert plain.epochs[0].region.used == set(range(PAGES))
    with plain.epoch() as epoch:
        leader.protect(window, 3)
        leader.store(window, 5)
        leader.protect(window, 0)
    assert epoch.exact == {5}
    assert [found["different"] + found["missed"] for found in plain.verify_all()] == [0, 0]


@pytest.mark.usefixtures("root")
def test_root_can_attach_to_another_user_s_processes(verified: Stage) -> None:
    leader = verified.program(prefix=["setpriv", "--reuid=65534", "--clear-groups"])
    memory = leader.file(verified.shm_path(), PAGES)
    windows = [leader.anonymous(PAGES), leader.map(memory, PAGES)]
    leader.close(memory)
    for window in windows:
        leader.fill(window)
    verified.attach(leader)
    with verified.epoch():
        pass
    with verified.epoch() as epoch:
        for window in windows:
            leader.store(window, 3)
    assert [region.dirty for region in epoch.regions.values()] == [{3}, {3}]
    assert [region.reasons for region in epoch.regions.values()] == [{}, {}]


# Refusals


def refusal(stage: Stage, **declared: object) -> str:
    with pytest.raises(AttachError) as refused:
        stage.launch(**declared)
    assert refused.value.exit_code == 5
    text = str(refused.value)
    assert "\n" not in text
    return text


def test_a_process_that_is_gone_is_refused(stage: Stage) -> None:
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    assert refusal(stage, attach={"pid": gone.pid, "pidfile": None}) == (
        f"process {gone.pid} is gone; name one that runs"
    )


@pytest.mark.usefixtures("root")
def test_another_user_s_process_is_refused(plain: Stage) -> None:
    actor = plain.program()
    actor.fill(actor.anonymous(1))
    assert refusal(plain, attach={"pid": actor.pid, "pidfile": None}) == (
        f"process {actor.pid}: PTRACE_SEIZE: Operation not permitted; "
        "run as the owner of that process, or as root"
    )
    assert status(actor.pid, "TracerPid") == "0"
    assert state(actor.pid) == "S"


@pytest.mark.parametrize("tracer", ["gdb", "strace"])
def test_a_process_that_is_traced_is_refused_with_its_tracer_s_name(
    stage: Stage, tracer: str
) -> None:
    path = shutil.which(tracer)
    if path is None:
        pytest.skip(f"{tracer} is not installed")
    actor, _ = running(stage)
    command = {
        "gdb": [path, "-q", "-nx", "-p", str(actor.pid)],
        "strace": [path, "-q", "-o", os.devnull, "-p", str(actor.pid)],
    }[tracer]
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere
    ) as process:
        try:
            wait_until(lambda: status(actor.pid, "TracerPid") != "0", f"{tracer} attaches")
            by = status(actor.pid, "TracerPid")
            text = refusal(stage, attach={"pid": actor.pid, "pidfile": None})
            assert text == (
                f"process {actor.pid}: PTRACE_SEIZE: traced by process {by}; "
                "end that debugger or tracer first"
            )
        finally:
            process.terminate()
            kill(actor.pid, signal.SIGCONT)
            process.kill()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        ("", "it holds no process id"),
        ("\n", "it holds no process id"),
        ("daemon", "it holds no process id"),
        ("-1", "it holds no process id"),
        ("0", "it holds no process id"),
        ("99999999999999999999", "it holds no process id"),
    ],
)
def test_a_pidfile_without_a_process_is_refused(
    stage: Stage, tmp_path: Path, content: str | None, reason: str
) -> None:
    path = tmp_path / "app.pid"
    if content is not None:
        path.write_text(content)
    assert refusal(stage, attach={"pid": None, "pidfile": str(path)}) == (
        f"cannot read the pidfile {path}: {reason}; start the program that writes it"
    )


def test_a_process_without_shared_memory_is_refused_and_runs_on(stage: Stage) -> None:
    actor = stage.program()
    before = appearance(actor.pid)
    with pytest.raises(WorkloadError) as refused:
        stage.attach(actor)
    assert refused.value.exit_code == 4
    assert "shares no memory: none of its 1 processes maps any with MAP_SHARED" in str(
        refused.value
    )
    wait_until(lambda: appearance(actor.pid) == before, "it is as before")


def test_a_keeper_does_not_attach_to_who_started_it(stage: Stage) -> None:
    pid = os.getpid()
    assert refusal(stage, attach={"pid": pid, "pidfile": None}) == (
        f"process {pid} is the keeper's own, or one of those that started it; name the workload's"
    )


def test_the_epochs_of_an_attached_workload_can_be_stretches_of_time(verified: Stage) -> None:
    leader, window = running(verified)
    leader.begin("count", window.at(3))
    advance = {"steps": None, "seconds": 0.05, "command": None}
    verified.attach(leader, advance=advance)
    with verified.epoch():
        pass
    with verified.epoch() as epoch:
        pass
    assert epoch.exact == {3}
    told = read_json(verified.path(1, "advance.json"))
    assert told["quantum"] == {"seconds": 0.05}
