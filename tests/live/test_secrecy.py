"""Where keepers work and checkpoints stand, nothing foreign is harmed, and nobody else reads."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kept import PLENTY, Kept
from system import status, wait_until

from tidemark.checkpoint.keep import keep_sound
from tidemark.checkpoint.series import Series
from tidemark.checkpoint.take import Taker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stage import Stage

PROGRAM = "import mmap, os, time; m = mmap.mmap(-1, 65536); m[0] = 1; print(1); time.sleep(99)"


@pytest.fixture
def kept(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    (tmp_path / "runtime").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.chdir(tmp_path)
    return Kept(stage)


def contents(directory: Path) -> dict[str, bytes]:
    """Return what a directory holds: its files, and anything else by its kind."""
    found = {}
    for path in directory.rglob("*"):
        mode = path.lstat().st_mode
        content = path.read_bytes() if stat.S_ISREG(mode) else str(stat.S_IFMT(mode)).encode()
        found[str(path.relative_to(directory))] = content
    return found


# Where the keeper works


@pytest.mark.parametrize(
    "name", ["output.log", "keeper.log", "keeper.sock", "keeper.json", "command.log", "thesis.txt"]
)
def test_a_directory_with_files_in_it_is_no_place_for_a_keeper(
    kept: Kept, tmp_path: Path, name: str
) -> None:
    leader, _ = kept.program()
    home = tmp_path / "home"
    home.mkdir()
    for each in {name, "thesis.txt"}:
        (home / each).write_text("precious")
    before = contents(home)
    done = kept.run("keep", str(leader.pid), "--directory", str(home))
    assert done.returncode == 7
    assert "cannot be the directory of a keeper: it holds what is not Tidemark's" in done.stderr
    assert contents(home) == before
    assert status(leader.pid, "TracerPid") == "0"


def test_what_comes_into_the_directory_of_a_keeper_later_stays(kept: Kept, tmp_path: Path) -> None:
    leader, _ = kept.program()
    for _ in range(2):
        assert kept.run("keep", str(leader.pid), "--directory", "work").returncode == 0
        (tmp_path / "work" / "thesis.txt").write_text("precious")
        assert kept.run("release", "work").returncode == 0
        wait_until(lambda: status(leader.pid, "TracerPid") == "0", "it is not traced")
    assert (tmp_path / "work" / "thesis.txt").read_text() == "precious"


@contextmanager
def few_files(place: Path, count: int) -> Iterator[None]:
    """Mount a file system that takes so many files."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"nr_inodes={count}", "tidemark-test", str(place)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not allow to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("what", ["process", "command"])
def test_a_keep_that_fails_at_any_file_leaves_nothing(
    kept: Kept, tmp_path: Path, what: str
) -> None:
    leader, window = kept.program()
    ends = set()
    for count in range(2, 12):
        with few_files(tmp_path / "small", count):
            command = ("--command", "python3", "-c", PROGRAM)
            words = (str(leader.pid),) if what == "process" else command
            done = kept.run("keep", "--name", "it", "--directory", "small/it", *words)
            ends.add(done.returncode)
            if done.returncode == 0:
                stopped = ("--stop",) if what == "command" else ()
                assert kept.run("release", "small/it", *stopped).returncode == 0
            else:
                assert done.returncode in {4, 7, 9}, done.stderr
                assert "Traceback" not in done.stderr
            wait_until(lambda: status(leader.pid, "TracerPid") == "0", "it is not traced")
            wait_until(lambda: not running(PROGRAM), "the program is gone")
        leader.store(window, 1)
    assert 0 in ends
    assert 7 in ends


@pytest.mark.parametrize("end", ["the time is over", signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_not_kept_in_the_end_is_ended(kept: Kept, end: int | str) -> None:
    program = f"import time; time.sleep({os.getpid()}.25)"
    limit = "2s"
    words = ("--directory", "work", "--timeout", limit, "--command", "python3", "-c", program)
    with subprocess.Popen(kept.command("keep", *words)) as client:
        wait_until(lambda: running(program), "its start")
        if not isinstance(end, str):
            client.send_signal(end)
        wait_until(lambda: not running(program), "its end")
    assert client.returncode != 0


def running(program: str) -> bool:
    """Return whether a process has these words on its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if program.encode() in words and b"keep" not in words:
                return True
    return False


@pytest.mark.parametrize("umask", [0, 0o022])
def test_nobody_else_reads_what_a_keeper_and_its_client_write(
    kept: Kept, tmp_path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        words = ("--directory", str(tmp_path / "work"), "--command", "python3", "-c", PROGRAM)
        assert kept.run("keep", *words).returncode == 0
        for _ in range(3):
            taken = kept.run("checkpoint", "work", "--to", "series/below", "--keep", "2")
            assert taken.returncode == 0, taken.stderr
        restored = kept.run("restore", "series/below/000002", "--to", "restored")
        assert restored.returncode == 0, restored.stderr
    finally:
        os.umask(before)
    found = [path for top in ("work", "series", "restored") for path in (tmp_path / top).rglob("*")]
    assert {path.name for path in found} >= {"keeper.sock", "keeper.log", "output.log", "lock"}
    for path in [tmp_path / "work", tmp_path / "series", tmp_path / "restored", *found]:
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600), path
    assert kept.run("release", "work", "--stop").returncode == 0


# Damage below what is written next

PAGED = ("pages-1.img", "pagemap-shmem-1.img")


@contextmanager
def client(kept: Kept, keep: int | None) -> Iterator[Callable[[], None]]:
    """Give what takes a checkpoint as one client does, again and again."""
    with kept.stage.client() as asking, Series(kept.directory) as series:
        taker = Taker(asking, series, PLENTY)

        def take() -> None:
            taker.take()
            if keep is not None:
                keep_sound(series, keep, lambda: taker.take(full=True))

        yield take


DAMAGES = [
    *((name, way) for name in PAGED for way in ("flip", "cut", "longer", "gone")),
    *((name, way) for name in ("inventory.img", "manifest.json") for way in ("flip", "gone")),
    ("parent", "elsewhere"),
]


def spoil(path: Path, way: str) -> None:
    if way == "elsewhere":
        path.unlink(missing_ok=True)
        path.symlink_to(way)
        return
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 4
    if way == "cut":
        content = content[: len(content) // 2]
    elif way == "longer":
        content += b"\0"
    path.write_bytes(content)
    if way == "gone":
        path.unlink()


@pytest.mark.parametrize("keep", [None, 2])
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(("name", "way"), DAMAGES)
def test_a_series_of_which_an_older_checkpoint_is_damaged_mends_itself(
    kept: Kept, name: str, way: str, same: bool, keep: int | None
) -> None:
    leader, window = kept.attach()
    with client(kept, keep) as first:
        for page in range(3):
            leader.store(window, page)
            first()
        spoil(kept.directory / "000001" / "image" / name, way)
        if same:
            for page in range(2):
                leader.store(window, page)
                first()
    if not same:
        for page in range(2):
            leader.store(window, page)
            with client(kept, keep) as another:
                another()
    newest = max(int(path.name) for path in kept.directory.glob("0*"))
    image = kept.directory / f"{newest:06}" / "image"
    sound = kept.run("fsck", str(image)).returncode == 0
    if sound:
        assert kept.restored(image) == kept.memory()
    # What pages hold is not read again before it has to be: only a process that saw them before,
    # or one that merges them, finds a bit that is wrong.
    assert sound or ((name, way) == ("pages-1.img", "flip") and keep is None and not same)
