"""What is compared beside what has to be: the audit, silent stores, and what strictness forbids."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from actors import Window
from stage import AS_NOBODY, NOBODY

from tidemark.errors import StrictError, VerifyError
from tidemark.proto import tracking_pb2 as pb
from tidemark.steps.bitmaps import get_bitmap, put_bitmap, read_message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import Actor
    from stage import Stage

PAGES = 64


def prepare(stage: Stage, **policy: object) -> tuple[Actor, Window]:
    leader = stage.start(**policy)
    window = leader.anonymous(PAGES)
    leader.fill(window)
    stage.baseline()
    return leader, window


def forget(path: Path, page: int) -> None:
    """Take a page out of what an epoch's bitmaps call dirty, as a tracker that missed it would."""
    bitmaps = read_message(path, pb.BitmapSet())
    (region,) = bitmaps.regions
    dirty = get_bitmap(region.dirty)
    assert page in dirty
    dirty.clear(page)
    region.dirty.Clear()
    put_bitmap(dirty, region.dirty)
    path.write_bytes(bitmaps.SerializeToString(deterministic=True))


def forget_before_dump(stage: Stage, epoch: int, page: int) -> None:
    stage.before_dump = lambda: forget(stage.path(epoch, "bitmap.pb"), page)


def lose(stage: Stage, leader: Actor, window: Window, page: int) -> None:
    """Go through an epoch of which a store to ``page`` is lost between tracker and dump."""
    forget_before_dump(stage, 1, page)
    with stage.epoch(judged=False):
        leader.store(window, 3, page)


def test_a_full_audit_finds_a_write_that_the_tracker_missed(stage: Stage) -> None:
    leader, window = prepare(stage, audit=1.0)
    with pytest.raises(VerifyError) as found:
        lose(stage, leader, window, 41)
    assert str(found.value) == (
        "the audit of workload stage, epoch 1, found writes that the tracker uffd-wp did not see: "
        "page 41 of region 1 (anonymous /dev/zero), mapped by process 0 (actor) at "
        f"{window.address:#x}; nothing was dumped; use `tracker: content` for this workload, and "
        "report it"
    )
    assert found.value.exit_code == 10
    assert not stage.path(1, "image").exists()


def test_an_audit_of_a_share_picks_other_pages_in_each_epoch(stage: Stage) -> None:
    leader, window = prepare(stage, audit=0.5)

    def finds(epoch: int) -> bool:
        forget_before_dump(stage, epoch, 41)
        try:
            with stage.epoch(judged=False):
                leader.store(window, 41)
        except VerifyError:
            return True
        return False

    outcomes = [finds(1)]
    while not outcomes[-1] and len(outcomes) < 32:
        outcomes.append(finds(len(outcomes) + 1))
    assert outcomes[-1]
    assert len(outcomes) > 1, "the first epoch's draw leaves page 41 out"


def test_without_an_audit_it_is_verification_that_finds_it(stage: Stage) -> None:
    leader, window = prepare(stage)
    lose(stage, leader, window, 41)
    assert [(found["different"], found["missed"]) for found in stage.verify_all()] == [
        (0, 0),
        (1, 1),
    ]


def test_an_audit_counts_what_it_compared(verified: Stage) -> None:
    leader, window = prepare(verified, audit=1.0)
    with verified.epoch():
        leader.store(window, 3, 7)
        leader.unmap(Window(window.at(8), 8, 4))
    assert verified.manifest(1)["audited"] == PAGES - 2 - 4, "but for what is dirty or suspect"


def test_an_audit_passes_over_pages_that_the_region_no_longer_has(verified: Stage) -> None:
    leader = verified.start(audit=1.0)
    memory = leader.file(verified.shm_path(), PAGES)
    window = leader.map(memory, PAGES)
    leader.fill(window)
    verified.baseline()
    with verified.epoch():
        leader.truncate(memory, PAGES // 2)
    with verified.epoch():
        leader.store(window, 1)


@pytest.mark.parametrize("drop", [False, True])
def test_a_store_of_what_is_there_already_is_left_to_the_parent_where_asked_for(
    stage: Stage, drop: bool
) -> None:
    leader, window = prepare(stage, drop_unchanged=drop)
    content = stage.epochs[0].content[1][5]
    with stage.epoch() as epoch:
        stage.write_memory(leader.pid, window.at(5), content)
        leader.store(window, 6)
    assert epoch.exact == {5, 6}
    manifest = stage.manifest(1)
    assert (manifest["present"], manifest["unchanged"]) == ((1, 1) if drop else (2, 0))
    (_, found) = stage.verify_all()
    assert found["precision"] == (1.0 if drop else 0.5)


def test_a_page_that_is_written_and_is_new_is_dumped_though_unchanged_ones_are_not(
    verified: Stage,
) -> None:
    leader = verified.start(drop_unchanged=True)
    window = leader.anonymous(PAGES)
    leader.fill(window, 0, 8)
    verified.baseline()
    with verified.epoch():
        leader.store(window, 2, 30)
    assert verified.manifest(1)["present"] == 2


# Strictness


def test_a_writer_outside_is_an_error_where_strictness_is_asked_for(
    stage: Stage,
) -> None:
    outsider = stage.program()
    path = stage.shm_path()
    outsider.fill(outsider.map(outsider.file(path, PAGES), PAGES))
    leader = stage.start(strict=True)
    leader.map(leader.open(path), PAGES)
    with pytest.raises(StrictError) as refused:
        stage.baseline()
    assert str(refused.value) == (
        "region 1 (posix) cannot be vouched for: a process outside of the workload may write it; "
        "end what may do so, or take `strict` out of the config"
    )
    assert refused.value.exit_code == 13
    assert not stage.path(0, "image").exists()


def test_what_the_tracker_cannot_see_is_no_error_though_strictness_is_asked_for(
    verified: Stage,
) -> None:
    leader, window = prepare(verified, strict=True)
    with verified.epoch() as epoch:
        leader.store(window, 9)
        leader.unmap(Window(window.at(8), 8, 4))
    assert epoch.region.reasons == {"unmapped": {8, 9, 10, 11}}


@pytest.fixture
def stranger() -> Iterator[None]:
    """Have a process of a user who is neither root nor nobody."""
    other = [word.replace(str(NOBODY), str(NOBODY - 1)) for word in AS_NOBODY]
    with subprocess.Popen([*other, "sleep", "1000"]) as process:
        yield
        process.kill()


@pytest.mark.usefixtures("stranger")
def test_a_process_that_may_not_be_inspected_and_could_open_it_is_an_error_then(
    plain: Stage,
) -> None:
    leader = plain.start(strict=True)
    path = plain.shm_path()
    leader.fill(leader.map(leader.file(path, PAGES), PAGES))
    Path(path).chmod(0o666)
    with pytest.raises(StrictError, match="a process that may not be inspected could have opened"):
        plain.baseline()


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("kind", ["anonymous", "memfd", "posix"])
def test_memory_that_no_other_user_can_open_is_vouched_for(plain: Stage, kind: str) -> None:
    leader = plain.start(strict=True)
    if kind == "anonymous":
        window = leader.anonymous(PAGES)
    else:
        path = plain.shm_path()
        memory = leader.memfd(PAGES) if kind == "memfd" else leader.file(path, PAGES)
        window = leader.map(memory, PAGES)
        leader.close(memory)
        if kind == "posix":
            Path(path).chmod(0o600)
    leader.fill(window)
    plain.baseline()
    with plain.epoch() as epoch:
        leader.store(window, 9)
    assert epoch.exact == {9}
