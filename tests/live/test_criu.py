"""CRIU judges our images, and we read its: on whatever kernel its own check passes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import criu
import pytest
from criu import Rounds
from stage import Stage
from system import PAGE

from tidemark.image.chain import Chain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Record = Callable[[str, object], None]

PAGES = 200


@pytest.fixture(scope="module")
def rounds_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if criu.lacking():
        pytest.skip(f"no CRIU: {criu.lacking()}")
    return criu.compile_program(tmp_path_factory.mktemp("rounds"))


@pytest.fixture
def directory(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Give a place for dumps; of a test that fails, CRIU's logs are kept where CRIU_LOGS says."""
    failed = request.session.testsfailed
    yield tmp_path
    keep = os.environ.get("CRIU_LOGS")
    for log in tmp_path.rglob("*.log") if keep and request.session.testsfailed > failed else ():
        name = "-".join(log.relative_to(tmp_path).parts)
        shutil.copy(log, Path(str(keep)) / f"{request.node.name}-{name}")


@pytest.fixture
def keeper(actor_program: Path, directory: Path, mark: str) -> Iterator[Stage]:
    """Give a keeper that a test attaches to a program; the tracker is the best there is."""
    place = directory / "keeper"
    place.mkdir()
    with Stage(place, actor_program, mark) as stage:
        stage.declared = {"tracker": "auto"}
        yield stage


@pytest.fixture
def anonymous(rounds_program: Path, directory: Path, mark: str) -> Rounds:  # noqa: ARG001
    """Give a program that shares anonymous memory, after its first round."""
    program = Rounds(rounds_program, directory, "anonymous", PAGES)
    program.write()
    return program


def attach(keeper: Stage, program: Rounds) -> None:
    keeper.launch(attach={"pid": program.pid, "pidfile": None})


def content(directory: Path) -> dict[int, bytes]:
    """Return the pages of the one region of a dump, ours or CRIU's, its parents included."""
    with Chain(directory) as chain:
        (number,) = chain.regions()
        region = chain.region(number)
        return {
            page: region.source.read(page)
            for first, count in region.present.runs()
            for page in range(first, first + count)
        }


def not_zero(pages: list[bytes] | dict[int, bytes]) -> dict[int, bytes]:
    items = pages.items() if isinstance(pages, dict) else enumerate(pages)
    return {page: data for page, data in items if data != bytes(PAGE)}


def test_we_read_what_criu_dumps(anonymous: Rounds, directory: Path) -> None:
    dump = criu.dump_tree(anonymous.pid, directory / "dump", leave=True)
    truth = anonymous.memory()
    assert len(not_zero(truth)) == PAGES
    assert not_zero(content(dump.directory)) == not_zero(truth)


def test_crit_reads_what_we_dump_of_the_same_tree(
    anonymous: Rounds, keeper: Stage, directory: Path
) -> None:
    dump = criu.dump_tree(anonymous.pid, directory / "dump", leave=True)
    attach(keeper, anonymous)
    with keeper.epoch():
        pass
    ours = criu.decoded_pages(keeper.path(0, "image"), 1)
    theirs = criu.decoded_pages(dump.directory, dump.shmid)
    assert ours == not_zero(theirs)
    assert len(ours) == PAGES


def test_criu_restores_a_full_dump_of_ours(
    anonymous: Rounds, keeper: Stage, directory: Path
) -> None:
    attach(keeper, anonymous)
    with keeper.epoch():
        anonymous.write()
    keeper.stop()
    dump = criu.dump_tree(anonymous.pid, directory / "dump", leave=True)
    anonymous.kill()
    criu.put_in_place(keeper.path(0, "image"), dump, dump.shmid)
    check_restored(anonymous, dump)


def test_criu_restores_a_chain_of_ours(anonymous: Rounds, keeper: Stage, directory: Path) -> None:
    attach(keeper, anonymous)
    for _ in range(3):
        with keeper.epoch():
            anonymous.write()
    keeper.stop()
    dump = criu.dump_tree(anonymous.pid, directory / "dump", leave=True)
    anonymous.kill()
    put_chain_in_place(keeper, dump)
    assert 0 < keeper.manifest(2)["present"] < PAGES / 2
    check_restored(anonymous, dump)


def put_chain_in_place(keeper: Stage, dump: criu.Dump) -> None:
    """Put all our images in the place of CRIU's one, each the parent of the next."""
    shmid, last = dump.shmid, len(keeper.epochs) - 1
    for epoch in range(last):
        level = dump.directory / f"level-{epoch}"
        level.mkdir()
        criu.put_in_place(keeper.path(epoch, "image"), criu.Dump(level), shmid)
        if epoch:
            (level / "parent").symlink_to(f"../level-{epoch - 1}")
    criu.put_in_place(keeper.path(last, "image"), dump, shmid)
    (dump.directory / "parent").symlink_to(f"level-{last - 1}")


def check_restored(program: Rounds, dump: criu.Dump) -> None:
    """Have CRIU restore a tree, and the tree check itself and run on."""
    criu.restore_tree(dump)
    try:
        assert program.wrong() == 0
        program.write()
        assert program.wrong() == 0
    finally:
        program.kill_restored()


def test_a_damaged_page_of_ours_does_not_pass_the_programs_own_check(
    anonymous: Rounds, keeper: Stage, directory: Path
) -> None:
    attach(keeper, anonymous)
    with keeper.epoch():
        pass
    keeper.stop()
    dump = criu.dump_tree(anonymous.pid, directory / "dump", leave=True)
    anonymous.kill()
    criu.put_in_place(keeper.path(0, "image"), dump, dump.shmid)
    with dump.pages.open("r+b") as pages:
        pages.seek(7 * PAGE + 8)
        pages.write(b"damaged!")
    criu.restore_tree(dump)
    try:
        assert anonymous.wrong() == 7
    finally:
        anonymous.kill_restored()


def test_of_a_writer_that_exits_criu_restores_stale_pages_and_we_the_right_ones(
    rounds_program: Path, keeper: Stage, directory: Path, record_property: Record
) -> None:
    program = Rounds(rounds_program, directory, "sysv", 9, "leave")
    program.write()
    first = criu.dump_tree(program.pid, directory / "1", track=True, leave=True)
    attach(keeper, program)
    with keeper.epoch():
        pass
    with keeper.epoch():
        program.write()  # its writers are gone before anybody looks
    keeper.stop()
    second = criu.dump_tree(
        program.pid, directory / "2", parent=first.directory, track=True, leave=True
    )
    whole = criu.dump_tree(program.pid, directory / "3", leave=True)
    truth = not_zero(program.memory())
    program.kill()
    stale = [page for page, data in truth.items() if content(second.directory).get(page) != data]
    assert stale == [2, 6], "the pages of the second round"
    assert not_zero(content(keeper.path(1, "image"))) == truth
    record_property("criu_bytes", [first.pages.stat().st_size, second.pages.stat().st_size])
    record_property("our_bytes", [bytes_of(keeper, epoch) for epoch in range(2)])
    check_stale(program, second)
    put_chain_in_place(keeper, whole)
    check_restored(program, whole)


def check_stale(program: Rounds, dump: criu.Dump) -> None:
    """Have CRIU restore its own dump, and the program find what is wrong with it."""
    criu.restore_tree(dump)
    try:
        assert program.wrong() == 2
    finally:
        program.kill_restored()


def bytes_of(keeper: Stage, epoch: int) -> int:
    return (keeper.path(epoch, "image") / "pages-1.img").stat().st_size


def test_of_anonymous_memory_criu_writes_all_each_time_and_we_what_changed(
    anonymous: Rounds, keeper: Stage, directory: Path, record_property: Record
) -> None:
    first = criu.dump_tree(anonymous.pid, directory / "1", track=True, leave=True)
    attach(keeper, anonymous)
    with keeper.epoch():
        pass
    with keeper.epoch():
        anonymous.write()
    keeper.stop()
    second = criu.dump_tree(
        anonymous.pid, directory / "2", parent=first.directory, track=True, leave=True
    )
    truth = not_zero(anonymous.memory())
    assert not_zero(content(second.directory)) == truth
    assert not_zero(content(keeper.path(1, "image"))) == truth
    sizes = [path.stat().st_size for path in (first.pages, second.pages)]
    ours = [bytes_of(keeper, epoch) for epoch in range(2)]
    record_property("criu_bytes", sizes)
    record_property("our_bytes", ours)
    assert sizes == [PAGES * PAGE, PAGES * PAGE]
    assert ours == [PAGES * PAGE, (PAGES // 4 + 1) * PAGE], "a quarter, and the page of orders"
