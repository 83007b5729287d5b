"""Directories that are held against others: by a lock that no stranger can reach."""

from __future__ import annotations

import os
import platform
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tidemark.errors import StorageError
from tidemark.locks import Held, Lock
from tidemark.owned import Kind, OwnDirectory

if TYPE_CHECKING:
    from pathlib import Path

US = f"process {os.getpid()} on {platform.node()}"
KIND = Kind("checkpoints", "the directory of a test", lambda _, names: next(iter(names), None))


def own(path: Path) -> OwnDirectory:
    return OwnDirectory(path, KIND)


def test_a_lock_names_its_holder_and_is_given_back(tmp_path: Path) -> None:
    with Lock(own(tmp_path / "held")), pytest.raises(Held, match=US):
        Lock(own(tmp_path / "held"))
    Lock(own(tmp_path / "held")).release()


def test_a_lock_is_gone_with_its_holder(tmp_path: Path) -> None:
    program = f"""
import os
from pathlib import Path
from tidemark.locks import Lock
from tidemark.owned import Kind, OwnDirectory
kind = Kind("checkpoints", "the directory of a test", lambda _, names: next(iter(names), None))
lock = Lock(OwnDirectory(Path({str(tmp_path)!r}), kind))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    Lock(own(tmp_path)).release()


def test_nobody_else_can_open_a_lock_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        directory = own(tmp_path / "held")
        with Lock(directory):
            mark = tmp_path / "held" / ".tidemark"
            assert stat.S_IMODE(mark.stat().st_mode) == 0o700
            assert stat.S_IMODE((mark / "lock").stat().st_mode) == 0o600
    finally:
        os.umask(before)


@pytest.mark.parametrize("what", ["link", "fifo", "directory"])
def test_what_is_no_file_is_not_taken_for_a_lock(tmp_path: Path, what: str) -> None:
    directory = own(tmp_path / "held")
    lock, victim = tmp_path / "held" / ".tidemark" / "lock", tmp_path / "victim"
    victim.write_text("precious")
    if what == "link":
        lock.symlink_to(victim)
    elif what == "fifo":
        os.mkfifo(lock)
    else:
        lock.mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        Lock(directory)
    assert victim.read_text() == "precious"
