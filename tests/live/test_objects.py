"""What an object is: by no number and no name that the kernel scopes, cuts or reuses."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kept import Kept
from stage import NOBODY
from system import PAGE

from tidemark.cli.checkpoint import line_of
from tidemark.errors import StrictError
from tidemark.files import read_json
from tidemark.unsaved import Unsaved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import Actor, Window
    from stage import Stage

PAGES = 16
NEWNS, NEWUSER, NEWIPC = 0x20000, 0x10000000, 0x08000000
_REC_PRIVATE = 0x44000
_DETACH = 2
_CREATE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC

needs_root = pytest.mark.usefixtures("root")


def own_mounts(actor: Actor, flags: int = NEWNS) -> None:
    """Give an actor a mount namespace of its own, which ends with it."""
    try:
        actor.call("unshare", flags)
    except OSError as error:
        pytest.skip(f"no namespace of one's own: {error}")
    actor.call("mount", "none", "/", 0, _REC_PRIVATE, 0)


def mount(actor: Actor, kind: str = "tmpfs") -> None:
    """Mount a new file system on /mnt, for an actor alone."""
    actor.call("mount", kind, "/mnt", kind, 0, 0)


def mount_on(actor: Actor, kind: str, device: str) -> None:
    """Mount a new file system that gets the number of a device that is gone."""
    for _ in range(20):
        mount(actor, kind)
        found = os.stat(f"/proc/{actor.pid}/root/mnt").st_dev  # noqa: PTH116 - not of ours
        if f"{os.major(found):02x}:{os.minor(found):02x}" == device:
            return  # else it stays, below the next one: it had a number that was free, too
    pytest.skip(f"somebody else has the device number {device} by now")


def map_file(actor: Actor, name: str = "/mnt/x", address: int | None = None) -> Window:
    """Map a new file, filled, and close it: nothing but the mapping shows it."""
    descriptor = actor.call("openat", -100, name, _CREATE, 0o600)
    actor.truncate(descriptor, PAGES)
    window = actor.map(descriptor, PAGES, address=address)
    actor.close(descriptor)
    actor.fill(window)
    return window


def numbers(actor: Actor, window: Window) -> tuple[str, str]:
    """Return the device and the inode of a mapping, as the process's maps have them."""
    for line in Path(f"/proc/{actor.pid}/maps").read_text().splitlines():
        words = line.split()
        if words[0].startswith(f"{window.address:x}-"):
            return words[3], words[4]
    raise AssertionError("it is not mapped")


def unsaved(stage: Stage, epoch: int = 0) -> list[dict[str, object]]:
    """Return what an epoch's manifest lists that is not saved."""
    found = read_json(stage.path(epoch, "image") / "manifest.json").get("unsaved", [])
    return list(found)


def take_through(stage: Stage, actor: Actor, window: Window) -> None:
    """Go through an epoch in which an actor stores to a window, whose region is known."""
    stage.baseline()
    assert len(stage.epochs[0].regions) == 1
    with stage.epoch() as epoch:
        actor.store(window, 3)
    assert 3 in epoch.region.dirty | epoch.region.suspect


@needs_root
def test_segments_of_two_ipc_namespaces_with_one_id_are_two_regions(verified: Stage) -> None:
    leader = verified.start()
    children, windows = [leader.fork(), leader.fork()], []
    for child in children:
        child.call("unshare", NEWIPC)
        segment = child.segment(PAGES)
        windows.append(child.attach_segment(segment, PAGES))
        child.fill(windows[-1])
    one, other = (numbers(*each) for each in zip(children, windows, strict=True))
    assert one == other
    verified.baseline()
    with verified.epoch() as epoch:
        children[0].store(windows[0], 3)
        children[1].store(windows[1], 7)
    assert [region.dirty for region in epoch.regions.values()] == [{3}, {7}]


@needs_root
def test_a_segment_in_the_place_of_one_that_looks_the_same_is_another_region(
    verified: Stage,
) -> None:
    """Nothing of a mapping's line tells them apart, and shmdt(2) is not reported."""
    leader = verified.start()
    child = leader.fork()
    child.call("unshare", NEWIPC)
    window = child.attach_segment(child.segment(PAGES), PAGES)
    child.fill(window)
    before = numbers(child, window)
    verified.baseline()
    with verified.epoch() as epoch:
        child.call("shmdt", window.address)
        child.call("unshare", NEWIPC)
        segment = child.segment(PAGES)
        assert child.call("shmat", segment, window.address, 0) == window.address
        child.store(window, 3)
        assert numbers(child, window) == before
    assert list(epoch.regions) == [2], "region 1 is gone"
    assert epoch.region.used == {3}


DEAF = """
from tidemark.native import identity

honest, calls = identity.mapped_objects, []

def deaf(tid, spans):
    calls.append(tid)
    return [None] * len(spans) if len(calls) % 2 else honest(tid, spans)

identity.mapped_objects = deaf
"""


@needs_root
def test_an_object_that_does_not_answer_each_time_is_one_region(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deaf = tmp_path / "deaf"
    deaf.mkdir()
    (deaf / "sitecustomize.py").write_text(DEAF)
    monkeypatch.setenv("PYTHONPATH", str(deaf))
    leader = stage.start()
    window = leader.anonymous(PAGES)
    leader.fill(window)
    children = [leader.fork() for _ in range(4)]
    stage.baseline()
    for _ in range(2):
        with stage.epoch() as epoch:
            for page, child in enumerate(children):
                child.store(window, page)
        assert {0, 1, 2, 3} <= epoch.region.dirty | epoch.region.suspect
    for found in stage.verify_all():
        assert (found["different"], found["missed"], found["missing"]) == (0, 0, [])


@needs_root
def test_a_file_of_a_tmpfs_that_is_mounted_no_more_is_tracked(verified: Stage) -> None:
    leader = verified.start()
    own_mounts(leader)
    mount(leader)
    window = map_file(leader)
    leader.call("umount2", "/mnt", _DETACH)
    take_through(verified, leader, window)


@needs_root
def test_a_file_of_a_tmpfs_that_its_mapper_has_left_behind_is_tracked(verified: Stage) -> None:
    leader = verified.start()
    own_mounts(leader)
    mount(leader)
    window = map_file(leader)
    child = leader.fork()
    own_mounts(child)
    child.call("umount2", "/mnt", _DETACH)
    mount(child)
    other = map_file(child)
    verified.baseline()
    with verified.epoch() as epoch:
        child.store(window, 3)
        child.store(other, 7)
    assert [3 in r.dirty | r.suspect for r in epoch.regions.values()] == [True, False]
    assert [7 in r.dirty | r.suspect for r in epoch.regions.values()][1]


@needs_root
def test_a_file_of_a_tmpfs_that_was_never_mounted_is_tracked(verified: Stage) -> None:
    leader = verified.start()
    context = leader.call("fsopen", "tmpfs", 0)
    leader.call("fsconfig", context, 6, 0, 0, 0)  # FSCONFIG_CMD_CREATE
    directory = leader.call("fsmount", context, 0, 0)
    descriptor = leader.call("openat", directory, "x", _CREATE, 0o600)
    leader.truncate(descriptor, PAGES)
    window = leader.map(descriptor, PAGES)
    leader.fill(window)
    for each in (context, directory, descriptor):
        leader.close(each)
    take_through(verified, leader, window)


@pytest.mark.parametrize("length", [1, 200, 249])
def test_a_memory_file_is_one_however_long_its_name(verified: Stage, length: int) -> None:
    leader = verified.start()
    descriptor = leader.memfd(PAGES, "n" * length)
    window = leader.map(descriptor, PAGES)
    leader.fill(window)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.pwrite(descriptor, 5)
    assert epoch.region.kind == "memfd"
    assert 5 in epoch.region.reasons["descriptor"]


@needs_root
def test_a_file_with_a_name_longer_than_is_kept_is_tracked(verified: Stage) -> None:
    leader = verified.start()
    own_mounts(leader)
    mount(leader)
    window = map_file(leader, "/mnt/" + "n" * 255)
    take_through(verified, leader, window)


@needs_root
def test_a_regular_file_among_the_devices_is_tracked(verified: Stage) -> None:
    leader = verified.start()
    own_mounts(leader)
    mount(leader, "devtmpfs")
    name = f"/mnt/{verified.hall.name}"
    window = map_file(leader, name)
    leader.call("unlinkat", -100, name, 0)
    take_through(verified, leader, window)


@needs_root
@pytest.mark.parametrize("within", [True, False], ids=["within-an-epoch", "across-epochs"])
@pytest.mark.parametrize("kinds", [("ramfs", "tmpfs"), ("tmpfs", "tmpfs"), ("tmpfs", "ramfs")])
def test_a_device_number_that_is_used_again_is_another_file_system(
    verified: Stage, kinds: tuple[str, str], *, within: bool
) -> None:
    leader = verified.start()
    leader.fill(leader.anonymous(PAGES))
    own_mounts(leader)
    mount(leader, kinds[0])
    window = map_file(leader)
    verified.baseline()
    first = numbers(leader, window)

    def take_away() -> None:
        leader.unmap(window)
        leader.call("umount2", "/mnt", _DETACH)

    if not within:
        with verified.epoch():
            take_away()
    with verified.epoch() as epoch:
        if within:
            take_away()
        if within and kinds[0] == "tmpfs":
            mount(leader, kinds[1])  # the number is not free: a region's file system is held
        else:
            mount_on(leader, kinds[1], first[0])
        again = map_file(leader, address=window.address)
    assert len(epoch.regions) == (1 if kinds[1] == "ramfs" else 2)
    assert [one["kind"] for one in unsaved(verified, epoch.number)] == (
        ["ramfs file"] if kinds[1] == "ramfs" else []
    )
    with verified.epoch() as epoch:
        leader.store(again, 3)
    if kinds[1] == "tmpfs":
        assert 3 in max(epoch.regions.items())[1].dirty


@pytest.fixture
def disk_file() -> Iterator[Path]:
    path = Path(f"/var/tmp/tidemark-test-{os.getpid()}")  # noqa: S108 - a disk is meant
    yield path
    path.unlink(missing_ok=True)


@needs_root
def test_what_is_shared_and_not_saved_is_listed(verified: Stage, disk_file: Path) -> None:
    leader = verified.start()
    leader.fill(leader.anonymous(PAGES))
    own_mounts(leader)
    mount(leader, "ramfs")
    map_file(leader, "/mnt/r")
    map_file(leader, str(disk_file))
    leader.fork()
    context = bytes(8)
    leader.call("io_setup", 1, context)
    verified.baseline()
    found = {(one["kind"], one["name"]): one for one in unsaved(verified)}
    assert found["ramfs file", "/mnt/r"]["bytes"] == PAGES * PAGE
    assert found["file", str(disk_file)]["processes"] == [0, 1]
    assert found["kernel object", "/[aio]"]["processes"] == [0]
    assert len(found) == 3


@needs_root
def test_a_device_is_listed(verified: Stage, disk_file: Path) -> None:
    """A loop device that loops nothing: it has no byte that anybody could touch."""
    leader = verified.start()
    leader.fill(leader.anonymous(PAGES))
    os.mknod(disk_file, 0o600 | stat.S_IFBLK, os.makedev(7, 0))
    try:
        leader.map(leader.open(str(disk_file)), 3)
    except OSError as error:
        pytest.skip(f"no loop device: {error}")
    verified.baseline()
    assert [(one["kind"], one["bytes"]) for one in unsaved(verified)] == [("device", 3 * PAGE)]


@needs_root
def test_secret_memory_is_listed(verified: Stage) -> None:
    leader = verified.start()
    leader.fill(leader.anonymous(PAGES))
    try:
        secret = leader.call("memfd_secret", 0)
    except OSError as error:
        pytest.skip(f"no secret memory: {error}")
    leader.truncate(secret, 2)
    leader.map(secret, 2)
    verified.baseline()
    assert [(one["kind"], one["bytes"]) for one in unsaved(verified)] == [
        ("secret memory", 2 * PAGE)
    ]


def test_what_is_not_saved_is_an_error_where_strictness_is_asked_for(
    stage: Stage, disk_file: Path
) -> None:
    leader = stage.start(strict=True)
    leader.fill(leader.anonymous(PAGES))
    map_file(leader, str(disk_file))
    with pytest.raises(StrictError) as refused:
        stage.baseline()
    assert str(refused.value) == (
        f"workload stage shares what no dump holds: file {disk_file} ({PAGES * PAGE} bytes, mapped "
        "by process 0); run it without that, or take `strict` out of the config"
    )
    assert not stage.path(0, "image").exists()


def test_each_checkpoint_tells_what_it_does_not_hold(stage: Stage, disk_file: Path) -> None:
    kept = Kept(stage)
    leader, _ = kept.program()
    map_file(leader, str(disk_file))
    stage.attach(leader)
    taken = kept.take()
    listed = Unsaved("file", str(disk_file), PAGES * PAGE, (0,))
    assert taken.unsaved == (listed,)
    assert line_of(taken).endswith(", not saved: 1 file")
    shown = kept.run("show", str(taken.path))
    assert shown.stdout.splitlines()[-2:] == ["not saved: 1 file", f"  {listed}"]


def test_a_mapping_that_cannot_be_written_is_not_listed(verified: Stage, disk_file: Path) -> None:
    leader = verified.start()
    leader.fill(leader.anonymous(PAGES))
    leader.protect(map_file(leader, str(disk_file)), 1)
    verified.baseline()
    assert unsaved(verified) == []


def test_an_ordinary_user_is_told_of_a_file_on_a_disk(plain: Stage) -> None:
    leader = plain.start()
    leader.fill(leader.anonymous(PAGES))
    path = plain.directory / "shared"
    map_file(leader, str(path))
    plain.baseline()
    assert [(one["kind"], one["name"]) for one in unsaved(plain)] == [("file", str(path))]


def test_an_ordinary_user_asks_the_tracker_where_nothing_else_tells(plain: Stage) -> None:
    """A tmpfs that is in no list of mounts any more, and of whose file no descriptor is left."""
    leader = plain.start()
    own_mounts(leader, NEWUSER | NEWNS)
    Path(f"/proc/{leader.pid}/uid_map").write_text(f"0 {NOBODY} 1")
    Path(f"/proc/{leader.pid}/gid_map").write_text(f"0 {NOBODY} 1")
    mount(leader)
    window = map_file(leader)
    leader.call("umount2", "/mnt", _DETACH)
    other = leader.anonymous(1)
    leader.fill(other)
    child = leader.fork()
    child.unmap(other)
    leader.unmap(window)
    plain.baseline()
    with plain.epoch() as epoch:
        child.store(window, 3)
    assert [3 in r.dirty | r.suspect for r in epoch.regions.values()].count(True) == 1
    assert unsaved(plain) == []
    for found in plain.verify_all():
        assert (found["different"], found["missed"]) == (0, 0)
        assert found["unjudged"] == PAGES, "the truth does not ask the tracker"
        assert found["unjudged_objects"] == ["/x"]


def test_an_ordinary_user_tells_segments_of_two_namespaces_apart(plain: Stage) -> None:
    leader = plain.start()
    leader.fill(leader.anonymous(1))
    children, windows = [leader.fork(), leader.fork()], []
    for child in children:
        try:
            child.call("unshare", NEWUSER | NEWIPC)
        except OSError as error:
            pytest.skip(f"no namespace of one's own: {error}")
        windows.append(child.attach_segment(child.segment(PAGES), PAGES))
        child.fill(windows[-1])
    plain.baseline()
    with plain.epoch() as epoch:
        children[0].store(windows[0], 3)
        children[1].store(windows[1], 7)
    segments = [region for region in epoch.regions.values() if region.kind == "sysv"]
    assert len(segments) == 2
    assert all(set(region.reasons) == {"unwitnessed"} for region in segments)
    for found in plain.verify_all():
        assert (found["different"], found["missed"], found["unjudged"]) == (0, 0, 0)
