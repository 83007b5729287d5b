"""Regions that are restored as files: whole, under names that were free, for their owner alone."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from image_fixture import SMALL_CHAIN, page_of, small_chain
from strangers import STRANGER, as_stranger

from tidemark.errors import ImageError, StorageError
from tidemark.native.library import PAGE_SIZE
from tidemark.restore import files
from tidemark.restore.files import restore_files

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["region-1.mem", "region-2.mem"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return small_chain(tmp_path / "images")[-1]


@pytest.fixture(params=["without a name", "under another name"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files made as on a file system that has none without a name, too."""
    if request.param == "under another name":
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_WRONLY)  # EISDIR, as there


def check(directory: Path) -> None:
    assert sorted(path.name for path in directory.iterdir()) == NAMES
    for number, tags in SMALL_CHAIN.items():
        content = (directory / f"region-{number}.mem").read_bytes()
        for page in range(16):
            held = content[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
            assert held == (page_of(tags[page]) if page in tags else bytes(PAGE_SIZE))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("umask", [0, 0o777])
def test_what_is_restored_is_for_its_owner_alone(image: Path, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        restore_files(image, tmp_path / "new" / "out")
        restore_files(image, tmp_path / "group", 0o640)
    finally:
        os.umask(before)
    check(tmp_path / "new" / "out")
    for path, mode in (("new", 0o700), ("new/out", 0o700), ("group", 0o750)):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == mode
    for name in NAMES:
        assert stat.S_IMODE((tmp_path / "new" / "out" / name).stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "group" / name).stat().st_mode) == 0o640


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "what", ["file", "link", "dangling link", "hard link", "fifo", "directory"]
)
@pytest.mark.parametrize("name", NAMES)
def test_what_has_the_name_of_a_region_is_not_touched(
    image: Path, tmp_path: Path, what: str, name: str
) -> None:
    out, victim = tmp_path / "out", tmp_path / "victim"
    out.mkdir()
    victim.write_text("precious")
    if what == "file":
        (out / name).write_text("precious")
    elif what == "link":
        (out / name).symlink_to(victim)
    elif what == "dangling link":
        (out / name).symlink_to(tmp_path / "nowhere")
    elif what == "hard link":
        (out / name).hardlink_to(victim)
    elif what == "fifo":
        os.mkfifo(out / name)
    else:
        (out / name).mkdir()
    with pytest.raises(StorageError, match=f"{name} is there already; move it away"):
        restore_files(image, out)
    assert [path.name for path in out.iterdir()] == [name]
    assert victim.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.usefixtures("way")
def test_a_name_that_is_taken_meanwhile_leaves_none_of_them(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    restore = files.restore_region

    def slowly(*arguments: object) -> None:
        restore(*arguments)  # type: ignore[arg-type]
        (out / NAMES[1]).touch()

    monkeypatch.setattr(files, "restore_region", slowly)
    with pytest.raises(StorageError, match=f"{NAMES[1]} is there already"):
        restore_files(image, out)
    assert [path.name for path in out.iterdir()] == [NAMES[1]]


def test_a_damaged_image_leaves_nothing_not_even_the_directory(image: Path, tmp_path: Path) -> None:
    pages = image / "pages-1.img"
    pages.write_bytes(bytes(pages.stat().st_size))
    with pytest.raises(ImageError, match="is damaged"):
        restore_files(image, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("size", range(4, 28, 4))
def test_a_full_disk_leaves_nothing(image: Path, tmp_path: Path, size: int) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tidemark-test", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not allow to mount a tmpfs")
    try:
        with pytest.raises(StorageError, match="the file system is full; free some space"):
            restore_files(image, disk / "out")
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_limit_on_the_length_of_files_leaves_nothing(image: Path, tmp_path: Path) -> None:
    program = f"""
import resource
from pathlib import Path
from tidemark.errors import StorageError
from tidemark.restore.files import restore_files
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    restore_files(Path({str(image)!r}), Path({str(tmp_path / "out")!r}))
except StorageError:
    print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "refused\n", done.stderr
    assert not (tmp_path / "out").exists()


def test_a_restore_that_is_killed_leaves_no_file(image: Path, tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from tidemark.restore import files
restore = files.restore_region
def killed(chain, number, target):
    restore(chain, number, target)
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
files.restore_region = killed
files.restore_files(Path({str(image)!r}), Path({str(tmp_path / "out")!r}))
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list((tmp_path / "out").iterdir()) == []


def test_a_stranger_reads_nothing_of_what_is_restored_where_he_can_write(
    image: Path, open_to_all: Path
) -> None:
    out = open_to_all / "out"
    out.mkdir()
    out.chmod(0o1777)
    assert as_stranger(lambda: str((out / NAMES[0]).write_text(""))) == "0"
    with pytest.raises(StorageError, match="is there already"):
        restore_files(image, out)
    assert (out / NAMES[0]).stat().st_size == 0
    (out / NAMES[0]).unlink()
    restore_files(image, out)
    check(out)
    assert as_stranger((out / NAMES[0]).read_text).startswith("PermissionError")


def link(path: Path, target: str) -> str:
    path.symlink_to(target)
    return "linked"


def test_a_link_of_a_stranger_in_the_path_is_not_followed(image: Path, open_to_all: Path) -> None:
    (open_to_all / "his").mkdir()
    (open_to_all / "ours").mkdir(mode=0o700)
    os.chown(open_to_all / "his", STRANGER, STRANGER)
    assert as_stranger(lambda: link(open_to_all / "his" / "out", "../ours")) == "linked"
    with pytest.raises(StorageError, match="is a link that user 65534 has made"):
        restore_files(image, open_to_all / "his" / "out")
    assert list((open_to_all / "ours").iterdir()) == []
