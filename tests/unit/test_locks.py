"""Directories that are held against others, with the file system's locks and without."""

from __future__ import annotations

import multiprocessing
import os
import platform
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tidemark.locks import Held, Lock, claim

if TYPE_CHECKING:
    from pathlib import Path

US = f"process {os.getpid()} on {platform.node()}"


def test_a_lock_names_its_holder_and_is_given_back(tmp_path: Path) -> None:
    with Lock(tmp_path / "held"), pytest.raises(Held, match=US):
        Lock(tmp_path / "held")
    Lock(tmp_path / "held").release()


def test_a_lock_is_gone_with_its_holder(tmp_path: Path) -> None:
    program = f"from pathlib import Path; import os, tidemark.locks as locks\n\
lock = locks.Lock(Path({str(tmp_path)!r})); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    Lock(tmp_path).release()


def test_a_claim_is_made_once(tmp_path: Path) -> None:
    path = claim(tmp_path / "claim")
    with pytest.raises(Held, match=US):
        claim(path)
    assert [path] == list(tmp_path.iterdir())
    path.unlink()
    assert claim(path) == path


def test_the_claim_of_a_process_that_has_ended_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    maker = multiprocessing.get_context("spawn").Process(target=claim, args=(path,))
    maker.start()
    maker.join()
    assert path.exists()
    assert claim(path) == path
    with pytest.raises(Held, match=US):
        claim(path)


def test_the_claim_of_another_machine_stands_and_the_remedy_is_named(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    path.write_text("process 1 on elsewhere\n1 1 elsewhere\n")
    with pytest.raises(Held, match=f"process 1 on elsewhere; if that is gone, remove {path}"):
        claim(path)


def test_what_is_no_claim_stands_too(tmp_path: Path) -> None:
    (tmp_path / "claim").write_text("")
    with pytest.raises(Held, match="if that is gone, remove"):
        claim(tmp_path / "claim")
