"""Torture within bounds, and the means by which it says what it found."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mapped import Object, unmatched
from operations import WEIGHTS, Operation
from shortening import shorten
from stage import AS_NOBODY, NOBODY
from staging import Setting, build
from torture import MODES, Rack, torture
from users import python_for_all
from verbs import find

from tidemark.native.probe import probe_tracker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.serial
"""Descriptors that wait in sockets, and pages that are pinned, make others' memory suspect, too."""

OPERATIONS = {"epochs": 50_000, "checkpoints": 20_000}
"""For each tracker and seed."""

FRESH = secrets.randbits(32)


def tracker(name: str) -> str:
    lacking = None if name == "content" else probe_tracker(name)
    if lacking:
        pytest.skip(f"no {name}: {lacking}")
    return name


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("torture"))


@pytest.fixture
def plain_setting() -> Iterator[Setting]:
    """Return a setting of a user without any privilege."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root with setpriv can become another user")
    directory = Path(tempfile.mkdtemp(prefix="tidemark-test-"))
    try:
        os.chown(directory, NOBODY, NOBODY)
        program = build(directory)
        program.chmod(0o755)
        yield Setting(program, "uffd-wp", AS_NOBODY, python_for_all(directory))
    finally:
        shutil.rmtree(directory)


OF_A_USER = [
    "store",
    "store_edge",
    "fill",
    "load",
    "store_by_thread",
    "store_in_short_life",
    "store_and_die",
    "fork",
    "kill",
    "map_again",
    "map_part",
    "unmap",
    "unmap_part",
    "store_and_unmap",
    "store_in_brief_mapping",
    "map_over",
    "move",
    "move_part",
    "grow_mapping",
    "shrink_mapping",
    "map_with_room",
    "stretch",
    "double",
    "leave_behind",
    "protect_and_back",
    "detach_and_attach",
    "give_up_pages",
    "remove_pages",
    "remove_and_load",
    "page_out",
    "punch",
    "pwrite",
    "close",
    "thread",
    "vfork",
    "share_space",
    "join_by_name",
    "write_from_outside",
    "copy_from_outside",
    "outsider_maps",
    "outsider_stores",
    "outsider_leaves",
    "read_by_ring",
    "close_ring",
    "read_into",
    "new_region",
    "forget_region",
    "kill_all",
    "silent_store",
]
"""What an ordinary user's group goes through. Of the rest, root sees more than a user can be saved:
what nobody reports (CLONE_UNTRACED), and objects that only root can open.
"""


def put_through(
    setting: Setting, mode: str, seed: int, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = len(os.sched_getaffinity(0))
    only = tuple(OF_A_USER) if setting.user else ()
    rack = Rack(setting, jobs, modes=(mode,), shortest=False, only=only)
    tally = torture(rack, seed, count)
    with capsys.disabled():
        sys.stdout.write(f"\n{tally.line(setting.tracker, seed)}\n")
    assert tally.operations == count
    assert tally.lost == 0
    assert tally.precision >= 0.95
    if setting.tracker == "content":
        assert tally.precision == 1.0, "what is compared is known"


@pytest.mark.parametrize("seed", [1, FRESH], ids=["known", "fresh"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["uffd-wp", "soft-dirty"])
def test_no_page_is_lost_whatever_is_done_to_it(
    program: Path, name: str, mode: str, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    put_through(Setting(program, tracker(name)), mode, seed, OPERATIONS[mode], capsys)


def test_no_page_is_lost_without_a_tracker(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_through(Setting(program, "content"), "epochs", FRESH, 10_000, capsys)


@pytest.mark.parametrize("mode", MODES)
def test_no_page_of_an_ordinary_user_is_lost(
    plain_setting: Setting, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker(plain_setting.tracker)
    put_through(plain_setting, mode, FRESH, 10_000, capsys)


def test_every_operation_is_there() -> None:
    for verb in WEIGHTS:
        assert callable(find(verb))


@pytest.mark.parametrize("change", ["a page differs", "a page is missing", "all is missing"])
def test_what_is_not_saved_as_it_is_is_found(change: str) -> None:
    content = {3: b"x" * 4096, 5: b"y" * 4096}
    saved = {
        "a page differs": [{3: b"x" * 4096, 5: b"z" * 4096}],
        "a page is missing": [{3: b"x" * 4096}],
        "all is missing": [],
    }[change]
    others = {1: b"w" * 4096}
    live = [Object(others, 16384), Object(content, 32768)]
    wrong = {3, 5} if change == "all is missing" else {5}
    assert unmatched(live, [others, *saved]) == [(wrong, change == "all is missing")]


def test_what_stands_behind_the_last_byte_is_no_part_of_an_object() -> None:
    saved = {0: b"x" * 4096, 1: b"y" * 4096}
    assert unmatched([Object({0: b"x" * 4096, 1: b"y".ljust(4096, b"\0")}, 4097)], [saved]) == []
    assert unmatched([Object({0: b"x" * 4096}, 4096)], [saved]) == [({1}, False)]


def test_a_sequence_is_shortened_to_what_it_takes() -> None:
    noise = [Operation("load", number) for number in range(100)]
    needed = [Operation("store", 17), Operation("exit", 3), Operation("unmap", 99)]
    for place, operation in enumerate(needed):
        noise.insert(40 * place + 3, operation)

    def loses(candidate: Sequence[Operation]) -> bool:
        return all(operation in candidate for operation in needed)

    assert shorten(noise, loses) == needed
