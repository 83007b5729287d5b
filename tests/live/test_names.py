"""Names that a program gives itself, its files and its mounts are no lines of the kernel's."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tidemark import proc
from tidemark.keeper.inspection import sights
from tidemark.keeper.natures import mounts_of
from tidemark.keeper.overlays import overlays_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAMED = """
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None)
libc.prctl(15, os.fsencode(sys.argv[1]), 0, 0, 0)  # PR_SET_NAME
path = os.path.join(sys.argv[2], sys.argv[3])
if sys.argv[4:]:
    os.mkdir(path)
    assert libc.unshare(0x20000) == 0  # CLONE_NEWNS
    assert libc.mount(b"none", b"/", None, 0x44000, None) == 0  # MS_REC | MS_PRIVATE
    assert libc.mount(b"x", os.fsencode(path), b"tmpfs", 0, None) == 0
    path = os.path.join(path, "file")
file = os.open(path, os.O_RDWR | os.O_CREAT)
os.ftruncate(file, 4096)
shared = mmap.mmap(file, 4096)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def named() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.communicate(timeout=10)


def _start(started: list[subprocess.Popen[str]], *words: str) -> int:
    process = subprocess.Popen(
        [sys.executable, "-c", _NAMED, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process.pid


@pytest.mark.parametrize("end", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_no_name_of_a_thread_is_a_field(
    end: str, named: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    pid = _start(named, f"{end}Uid: 1 2 3", str(tmp_path), "f")
    assert proc.status_field(pid, "TracerPid") == "0"
    pid = _start(named, f"{end}Tgid: 1", str(tmp_path), "f")
    assert proc.status_field(pid, "Tgid") == str(pid)
    assert proc.user_of(pid) == os.getuid()


def test_no_name_of_a_file_is_a_mapping(named: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    pid = _start(named, "x", str(tmp_path), "f\r1000-2000 rw-s 0 00:01 5 ")
    assert len([sight for sight in sights(pid) if sight.start == 0x1000]) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount")
@pytest.mark.parametrize("name", ["m\r", "m\r1 2", "m\r1 2 9:9 - tmpfs x", "m\x85 - y", "\u2028"])
def test_no_name_of_a_mount_is_another_mount(
    name: str, named: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    pid = _start(named, "x", str(tmp_path), name, "mount")
    mounts = mounts_of(pid)
    assert (9, 9) not in mounts
    assert mounts.keys() > mounts_of(os.getpid()).keys() - {None}
    assert overlays_of(pid) is not None
    assert sights(pid)
