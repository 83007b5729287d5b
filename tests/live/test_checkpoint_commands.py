"""The verbs keep, checkpoint, status and release, as a user runs them."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from kept import PAGES, Kept
from system import PAGE, is_alive, kill, status, wait_until

from tidemark.console import INTERRUPTED_LINE
from tidemark.files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stage import Stage


@pytest.fixture
def kept(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    (tmp_path / "runtime").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.chdir(tmp_path)
    kept = Kept(stage)
    yield kept
    kept.check_all()
    if stage.keeper and is_alive(stage.keeper["pid"]):
        stage.stop()


def keep(kept: Kept, *words: str) -> None:
    """Keep an actor that runs already, by the verb."""
    leader, _ = kept.program()
    done = kept.run("keep", str(leader.pid), *words, "--json")
    assert done.returncode == 0, done.stderr
    kept.stage.directory = type(kept.directory)(json.loads(done.stdout)["directory"])
    kept.stage.keeper = read_json(kept.stage.keeper_json)


def test_a_process_is_kept_checkpointed_listed_and_released(kept: Kept) -> None:
    leader, window = kept.program()
    done = kept.run("keep", str(leader.pid))
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == f"{leader.pid}: kept, 1 processes, tracker uffd-wp"
    assert said[2].startswith("socket ")

    done = kept.run("checkpoint", "--to", str(kept.directory))
    assert "000000  16 pages, 64.0 KiB; frozen " in done.stdout, done.stderr
    kept.expect(0)
    leader.store(window, 1)
    done = kept.run("checkpoint", "--json")
    kept.expect(1)
    told = json.loads(done.stdout)
    assert (told["number"], told["pages"], told["bytes"]) == (1, 1, PAGE)
    assert told["parent"] == str(kept.directory / "000000")

    (listed,) = json.loads(kept.run("status", "--json").stdout)["keepers"]
    assert listed["processes"] == [leader.pid]
    assert listed["checkpoints"] == 2
    assert listed["parent"] == str(kept.directory / "000001" / "image")
    assert str(leader.pid) in kept.run("status").stdout

    assert kept.run("release").stdout == f"{leader.pid}: released; it runs on\n"
    wait_until(lambda: not is_alive(listed["pid"]), "the keeper's end")
    assert status(leader.pid, "TracerPid") == "0"
    assert kept.run("status").stdout == "nothing is kept\n"
    assert kept.check_all() == [0, 1]


def test_a_command_is_started_kept_and_stopped(kept: Kept) -> None:
    program = "import mmap, signal; m = mmap.mmap(-1, 65536); m[0] = 1; print(1); signal.pause()"
    done = kept.run("keep", "--name", "it", "--command", "python3", "-c", program)
    assert done.returncode == 0, done.stderr
    (listed,) = json.loads(kept.run("status", "it", "--json").stdout)["keepers"]
    assert kept.run("checkpoint", "it").returncode == 0
    assert (kept.stage.directory / "checkpoints" / "it" / "000000" / "image").is_dir()
    assert kept.run("release", "it", "--stop").stdout == "it: stopped\n"
    wait_until(lambda: not is_alive(listed["processes"][0]), "its end")
    (kept.directory / "it").rename(kept.stage.directory / "elsewhere")


def test_a_pidfile_names_the_process(kept: Kept) -> None:
    leader, _ = kept.program()
    (kept.stage.directory / "app.pid").write_text(f"{leader.pid}\n")
    done = kept.run("keep", "--pidfile", "app.pid")
    assert done.stdout.startswith("app: kept"), done.stderr
    assert kept.run("release", "app").returncode == 0


def test_a_second_keeper_of_one_name_is_refused(kept: Kept) -> None:
    keep(kept, "--name", "one")
    leader, _ = kept.program()
    done = kept.run("keep", str(leader.pid), "--name", "one")
    assert (done.returncode, "there is a keeper" in done.stderr) == (9, True)


def test_where_there_are_two_keepers_one_must_be_named(kept: Kept) -> None:
    keep(kept, "--name", "one")
    leader, _ = kept.program()
    assert kept.run("keep", str(leader.pid), "--name", "two").returncode == 0
    done = kept.run("checkpoint")
    assert (done.returncode, "there are 2 keepers (one, two)" in done.stderr) == (9, True)
    assert kept.run("release", str(leader.pid)).stdout == "two: released; it runs on\n"


def test_where_there_is_no_keeper_the_remedy_is_named(kept: Kept) -> None:
    for verb in ("checkpoint", "release"):
        done = kept.run(verb)
        assert done.returncode == 9
        assert "there is no keeper; start one with `tidemark keep`" in done.stderr


def test_several_checkpoints_are_taken_and_the_last_ones_kept(kept: Kept) -> None:
    keep(kept)
    words = ("--every", "1ms", "--count", "5", "--keep", "2", "--to", str(kept.directory))
    done = kept.run("checkpoint", *words)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
    kept.expect(3)
    kept.expect(4)
    assert kept.check_all() == [3, 4]


def test_a_copy_that_is_too_large_is_said(kept: Kept) -> None:
    keep(kept)
    done = kept.run("checkpoint", "--max-memory", "8K", "--to", str(kept.directory))
    assert "written while the process stood: --max-memory is too small" in done.stdout
    kept.expect(0)
    wait_until(kept.stage.runs, "it runs on")


def test_after_an_interrupt_all_is_whole_and_the_next_loses_nothing(kept: Kept) -> None:
    keep(kept)
    leader, window = kept.windows[0]
    command = kept.command("checkpoint", "--every", "1ms", "--to", str(kept.directory))
    for page in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
            assert client.stdout is not None
            assert client.stdout.readline()
            leader.store(window, page)
            client.send_signal(signal.SIGINT)
            _, said = client.communicate()
            assert (client.returncode, said) == (130, f"{INTERRUPTED_LINE}\n".encode())
        wait_until(kept.stage.runs, "it runs on")
        leader.store(window, 9)
        done = kept.run("checkpoint")
        assert done.returncode == 0, done.stderr
        newest = max(int(path.name) for path in kept.directory.glob("0*"))
        assert kept.restored(kept.directory / f"{newest:06}" / "image") == kept.memory()
    assert not list(kept.directory.glob("*/.*"))
    kept.run("checkpoint", "--keep", "1")
    kept.expect(newest + 1)
    assert kept.check_all() == [newest + 1]


def test_after_a_kill_of_the_client_the_next_checkpoint_loses_nothing(kept: Kept) -> None:
    keep(kept)
    leader, window = kept.windows[0]
    command = kept.command("checkpoint", "--every", "1ms", "--to", str(kept.directory))
    for page in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
            assert client.stdout is not None
            assert client.stdout.readline()
            leader.store(window, page)
            client.kill()
        wait_until(kept.stage.runs, "it runs on")
        assert kept.run("checkpoint", "--keep", "1").returncode == 0
        (newest,) = kept.directory.glob("0*")
        assert kept.restored(newest / "image") == kept.memory()
    kept.expect(int(newest.name))


def test_a_loop_ends_when_the_process_ends(kept: Kept) -> None:
    keep(kept)
    command = kept.command("checkpoint", "--every", "1h", "--to", str(kept.directory))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as client:  # type: ignore[call-overload]
        assert client.stdout.readline()
        kept.expect(0)
        kill(kept.windows[0][0].pid)
        _, said = client.communicate()
        assert (client.returncode, "is gone (the workload was killed by SIGKILL); " in said) == (
            9,
            True,
        )


def test_on_a_terminal_the_progress_of_a_large_checkpoint_is_shown(kept: Kept) -> None:
    leader = kept.stage.program()
    window = leader.anonymous((256 << 20) // PAGE)
    leader.ask("fill", window.address, window.count, 1)
    assert kept.run("keep", str(leader.pid), "--name", "large").returncode == 0
    ours, theirs = pty.openpty()
    words = ("checkpoint", "--to", str(kept.stage.directory / "large"))
    client = subprocess.Popen(kept.command(*words), stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:
        pass  # the other end was closed
    os.close(ours)
    assert client.wait() == 0
    assert b"% of 256.0 MiB" in shown
    assert kept.run("release").returncode == 0


@pytest.mark.usefixtures("root")
def test_the_runtime_directory_of_somebody_else_is_not_used(kept: Kept) -> None:
    path = kept.stage.directory / "runtime" / "tidemark"
    path.mkdir()
    os.chown(path, 12345, 12345)
    done = kept.run("status")
    assert (done.returncode, "is not this user's alone" in done.stderr) == (7, True)
    path.rmdir()


def test_a_checkpoint_has_what_restore_and_fsck_want(kept: Kept) -> None:
    keep(kept)
    kept.run("checkpoint", "--to", str(kept.directory))
    kept.expect(0)
    done = kept.run("fsck", str(kept.directory / "000000"))
    assert f"1 region, {PAGES} pages" in done.stdout
    done = subprocess.run(
        kept.command("restore", str(kept.directory / "000000"), "--tree"),
        input="\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "process 0: pid" in done.stdout
