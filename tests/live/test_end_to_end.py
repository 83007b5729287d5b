"""From a live workload to a verified dump: what is restored is what was there."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from stage import AS_NOBODY
from system import PAGE

from tidemark.files import read_json
from tidemark.restore.files import restore_files
from tidemark.steps.truth import read_truth
from tidemark.steps.verify import verify

if TYPE_CHECKING:
    from stage import Stage

MADV_REMOVE = 9
WORKLOADS = Path(__file__).parents[2] / "workloads"


def test_dirty_cleared_hole_and_settled_pages_come_together_in_one_dump(stage: Stage) -> None:
    leader = stage.start()
    window = leader.anonymous(600)
    leader.fill(window, 0, 40)
    leader.store(window, 599)
    child = leader.fork()
    stage.baseline()
    with stage.epoch() as epoch:
        leader.store(window, 1, 50)
        child.ask("fill", window.at(2), 1, 0)
        leader.call("madvise", window.at(3), 2 * PAGE, MADV_REMOVE)
        child.store(window, 6)
        child.execute()
    region = epoch.region
    assert region.dirty >= {1, 3, 4, 50}
    assert region.reasons.keys() == {"exec"}
    assert 6 in region.suspect
    manifest = stage.manifest(1)
    assert manifest["cleared"] == 3
    assert manifest["settled_changed"] == 2, "one was stored to, one became zero"
    assert manifest["full"] is False
    with stage.epoch():
        leader.store(window, 3)
    first, second, third = stage.verify_all()
    assert [found["different"] for found in (first, second, third)] == [0, 0, 0]
    assert [found["recall"] for found in (first, second, third)] == [1.0, 1.0, 1.0]
    assert second["changed"] == 6
    assert third["changed"] == third["dirty"] == 1
    assert third["precision"] == 1.0


def test_a_restored_file_holds_what_the_oracle_read(stage: Stage, tmp_path: Path) -> None:
    leader = stage.start()
    windows = [leader.anonymous(300), leader.map(leader.memfd(40), 40)]
    for window in windows:
        leader.fill(window, 5, 20)
    stage.baseline()
    for page in (6, 30, 6):
        with stage.epoch() as epoch:
            for window in windows:
                leader.store(window, page)
    paths = restore_files(stage.path(3, "image"), tmp_path / "files")
    for path, content in zip(paths, epoch.content.values(), strict=True):
        restored = path.read_bytes()
        for page in range(len(restored) // PAGE):
            expected = content.get(page, bytes(PAGE))
            assert restored[page * PAGE : (page + 1) * PAGE] == expected


def test_every_process_gets_back_its_own_view(stage: Stage) -> None:
    leader = stage.start()
    memory = leader.memfd(64)
    whole = leader.map(memory, 64)
    leader.fill(whole)
    child = leader.fork()
    child.unmap(whole)
    child.map(memory, 10, 50)
    reader = leader.fork()
    reader.protect(whole, 1)
    stage.baseline()
    (found,) = stage.verify_all()
    assert found["holders"] == 3
    assert found["sharing"] == {"seen": 3, "of": 3}
    assert found["pages"] == 64 + 10 + 64
    assert found["different"] == 0


def test_the_truth_is_read_by_another_way_than_the_dump(stage: Stage) -> None:
    leader = stage.start()
    window = leader.anonymous(8)
    leader.fill(window)
    leader.fork()
    stage.baseline()
    (region,) = read_json(stage.path(0, "truth.json"))["regions"]
    assert region["witness"] == [1], "the dump read the object, which process 0 showed it"
    assert region["unwitnessed"] == 0
    assert len(read_truth(stage.path(0, "truth.json")).regions[1].hashes.pages) == 8


LIE = """
from tidemark.native import space

honest = space.scan_all

def lie(scans, *, rearm):
    changed = honest(scans, rearm=rearm)
    for scan in scans:
        scan.written.clear(7)
    return changed

space.scan_all = lie
"""


def test_a_tracker_that_lies_is_found_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Verification can fail: the one test in which something is not real."""
    lies = tmp_path / "lies"
    lies.mkdir()
    (lies / "sitecustomize.py").write_text(LIE)
    monkeypatch.setenv("PYTHONPATH", str(lies))
    leader = stage.start()
    window = leader.anonymous(16)
    leader.fill(window)
    stage.baseline()
    with stage.epoch(judged=False) as epoch:
        leader.store(window, 3, 7)
    assert epoch.exact == {3}, "the lie"
    before, lying = stage.verify_all()
    assert (before["missed"], before["different"]) == (0, 0)
    assert (lying["changed"], lying["missed"], lying["recall"]) == (2, 1, 0.5)
    assert lying["different"] == 1, "page 7 is restored as it was before"


OVERSIGHT = """
from tidemark.keeper import objects

objects.TRACKED = objects.TRACKED - {"posix"}
"""


def test_an_object_that_the_dump_leaves_out_is_found_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The truth has a list of its own: the dump's mistake is not its mistake, too."""
    mistakes = tmp_path / "mistakes"
    mistakes.mkdir()
    (mistakes / "sitecustomize.py").write_text(OVERSIGHT)
    monkeypatch.setenv("PYTHONPATH", str(mistakes))
    leader = stage.start()
    leader.fill(leader.anonymous(4))
    path = stage.shm_path()
    leader.fill(leader.map(leader.file(path, 16), 16), 0, 5)
    stage.ready()
    with stage.epoch(judged=False) as epoch:
        pass
    assert epoch.left_out == [path]
    (found,) = stage.verify_all()
    assert found["missing"] == [{"kind": "posix", "name": path, "pages": 5}]
    assert (found["changed"], found["missed"], found["different"]) == (9, 5, 0)
    assert found["recall"] == 4 / 9


def test_two_objects_that_the_dump_takes_for_one_are_found_out(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    root: None,  # noqa: ARG001 - it asks for root
) -> None:
    mistakes = tmp_path / "mistakes"
    mistakes.mkdir()
    (mistakes / "sitecustomize.py").write_text(
        "from tidemark.native import identity\n"
        "honest = identity._object\n"
        "identity._object = lambda raw: honest(raw)._replace(handle=b'one')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(mistakes))
    leader = stage.start()
    for child in (leader.fork(), leader.fork()):
        child.call("unshare", 0x08000000)  # CLONE_NEWIPC
        child.fill(child.attach_segment(child.segment(8), 8))
    stage.ready()
    with stage.epoch(judged=False) as epoch:
        pass
    assert len(epoch.regions) == 1
    (found,) = stage.verify_all()
    assert [one["pages"] for one in found["missing"]] == [8]
    assert found["missed"] == 8


def test_a_restored_page_that_is_damaged_is_found_out(stage: Stage) -> None:
    leader = stage.start()
    leader.fill(leader.anonymous(16))
    leader.fork()
    stage.baseline()
    stage.verify_all()
    restored = stage.path(0, "restored") / "process-1-region-1.mem"
    with restored.open("r+b") as file:
        file.seek(5 * PAGE + 100)
        file.write(b"!")
    result = stage.path(0, "verify.json")
    verify(restored.parent, stage.path(0, "image"), stage.path(0, "truth.json"), None, result)
    assert read_json(result)["different"] == 1


def test_a_low_limit_on_open_files_is_no_hindrance(stage: Stage) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(list(Path("/proc/self/fd").iterdir())) + 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        leader = stage.start()
        for _ in range(2 * few):
            leader.fill(leader.anonymous(1))
        limits = Path(f"/proc/{leader.pid}/limits").read_text()
        assert f"Max open files            {few} " in limits, "the workload keeps its own"
        stage.baseline()
        assert len(stage.epochs[0].regions) == 2 * few
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


STEPS = {"steps": 2, "seconds": None, "command": None}
TIME = {"steps": None, "seconds": 0.1, "command": None}
PROGRAMS = {
    "grid": (STEPS, ["--pages", "64", "--processes", "3"]),
    "sparse": (STEPS, ["--gib", "1", "--pages", "100"]),
    "views": (STEPS, ["--pages", "64"]),
    "pyshm": (STEPS, ["--frames", "4", "--pages", "4", "--workers", "2"]),
    "kv": (TIME, ["--clients", "2"]),
    "prefork": (TIME, ["--workers", "2"]),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_bundled_program_is_dumped_and_verified(bare_stage: Stage, program: str) -> None:
    """Whatever the tracker is that the machine has."""
    stage = bare_stage
    advance, options = PROGRAMS[program]
    ready = {"step": None, "output": "^ready", "seconds": None} if advance is TIME else None
    stage.launch(
        run=[sys.executable, str(WORKLOADS / f"{program}.py"), *options],
        advance=advance,
        ready=ready,
        tracker="auto",
    )
    for _ in range(3):
        with stage.epoch():
            pass
    for found in stage.verify_all():
        assert (found["different"], found["missed"]) == (0, 0)
    if advance is STEPS:
        assert stage.ask("seal")["exit"] == {"code": 0, "signal": None}


@pytest.mark.usefixtures("root")
def test_a_plain_user_takes_a_workload_through_all_steps(plain: Stage) -> None:
    leader = plain.program(prefix=AS_NOBODY)
    window = leader.anonymous(600)
    leader.fill(window, 0, 40)
    plain.attach(leader)
    for page in (3, 500, 3):
        with plain.epoch():
            leader.store(window, page)
            child = leader.fork()
            child.store(window, page + 1)
            child.exit()
            leader.reap(child)
    assert [epoch.region.dirty for epoch in plain.epochs[1:]] == [{500, 501}, {3, 4}]
    for found in plain.verify_all():
        assert (found["different"], found["missed"]) == (0, 0)
