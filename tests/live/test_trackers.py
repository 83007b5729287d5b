from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tidemark.errors import TrackerError
from tidemark.files import read_json
from tidemark.native.probe import probe_tracker

if TYPE_CHECKING:
    from stage import Stage


@pytest.mark.parametrize("processes", [1, 2, 8])
def test_uffd_wp_reports_exactly_the_pages_that_were_stored_to(
    verified: Stage, processes: int
) -> None:
    leader = verified.start()
    window = leader.anonymous(64)
    leader.fill(window)
    crew = [leader, *(leader.fork() for _ in range(processes - 1))]
    verified.baseline()
    with verified.epoch() as epoch:
        for number, actor in enumerate(crew):
            actor.store(window, 7 * number, 7 * number + 1, 63)
    assert epoch.exact == {63} | {7 * n + i for n in range(processes) for i in (0, 1)}
    assert epoch.region.written[0] == {0, 1, 63}
    assert epoch.region.used == set(range(64))


def test_an_epoch_reports_nothing_of_the_epochs_before_it(verified: Stage) -> None:
    leader = verified.start()
    window = leader.anonymous(8)
    leader.fill(window)
    verified.ready()
    for page in range(4):
        with verified.epoch() as epoch:
            leader.store(window, page)
        if page:
            assert epoch.exact == {page}


def test_a_store_of_what_is_there_already_counts_as_written(verified: Stage) -> None:
    leader = verified.start()
    window = leader.anonymous(4)
    leader.fill(window)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.ask("fill", window.at(2), 1, leader.load(window, 2))
    assert epoch.exact == {2}


def test_a_load_does_not_count_as_written(verified: Stage) -> None:
    leader = verified.start()
    window = leader.anonymous(16)
    leader.fill(window)
    other = leader.fork()
    verified.baseline()
    with verified.epoch() as epoch:
        leader.touch(window)
        other.touch(window)
    assert epoch.exact == set()


def test_what_the_kernel_writes_for_a_process_is_seen(verified: Stage) -> None:
    leader = verified.start()
    window = leader.anonymous(4)
    leader.fill(window)
    pipe = leader.memfd(1, "source")
    leader.pwrite(pipe, 0)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.call("pread64", pipe, window.at(3), 8, 0)
    assert epoch.exact == {3}


def test_content_suspects_everything_and_settles_it(verified: Stage) -> None:
    leader = verified.start(tracker="content")
    window = leader.anonymous(16)
    leader.fill(window, 0, 8)
    verified.baseline()
    with verified.epoch() as epoch:
        leader.store(window, 3)
        leader.store(window, 9)
    assert epoch.region.reasons == {"content": {*range(8), 9}}
    assert epoch.region.dirty == {9}, "it became data, which the object itself tells"
    with verified.epoch() as epoch:
        leader.fork().store(window, 4)
    assert epoch.region.suspect == {*range(8), 9}
    manifest = read_json(verified.path(2, "image") / "manifest.json")
    assert manifest["regions"][0]["present"] == 1
    assert manifest["regions"][0]["settled_changed"] == 1


def test_auto_takes_uffd_wp_and_says_why(verified: Stage) -> None:
    leader = verified.start(tracker="auto")
    leader.fill(leader.anonymous(1))
    verified.baseline()
    told = read_json(verified.path(0, "clear.json"))
    assert told["tracker"] == "uffd-wp"
    assert told["tracker_reason"] == "auto: the best that passed its probe"


def test_a_tracker_that_is_asked_for_and_lacking_is_refused_with_the_reason(stage: Stage) -> None:
    lacking = probe_tracker("soft-dirty")
    if lacking is None:
        pytest.skip("this machine has soft-dirty bits")
    with pytest.raises(TrackerError) as refused:
        stage.launch(run=["/bin/true"], tracker="soft-dirty")
    assert refused.value.exit_code == 6
    assert lacking in str(refused.value)
    assert "`tracker: auto`" in str(refused.value)
    stage.check_nothing_left()


def test_the_same_epochs_give_the_same_bytes(stage: Stage) -> None:
    """Bitmaps and images hold nothing of a run: no pid, no address, no time."""
    outputs = []
    for _ in range(2):
        leader = stage.start()
        first, second = leader.anonymous(70), leader.map(leader.memfd(600), 600)
        other = leader.fork()
        stage.ready()
        for _ in range(2):
            with stage.epoch():
                for window in (first, second):
                    leader.ask("fill", window.at(1), 3, 77)
                    other.ask("fill", window.at(60), 5, 78)
        outputs.append(_bytes_of(stage))
        stage.stop()
        stage.forget()
    assert outputs[0] == outputs[1]


def _bytes_of(stage: Stage) -> dict[str, bytes]:
    found = {}
    for epoch in stage.epochs:
        found[f"{epoch.number}"] = stage.path(epoch.number, "bitmap.pb").read_bytes()
        for file in stage.path(epoch.number, "image").iterdir():
            if file.is_file() and not file.is_symlink():
                found[f"{epoch.number}/{file.name}"] = file.read_bytes()
    return found
