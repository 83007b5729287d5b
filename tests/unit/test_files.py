"""Files of ours are new ones, or were ours before."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from tidemark.files import open_log, write_bytes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("what", ["link", "fifo", "hard link", "directory"])
def test_a_log_is_no_file_of_anybody_elses(tmp_path: Path, what: str) -> None:
    victim, log = tmp_path / "victim", tmp_path / "keeper.log"
    victim.write_text("precious")
    if what == "link":
        log.symlink_to(victim)
    elif what == "fifo":
        os.mkfifo(log)
    elif what == "hard link":
        log.hardlink_to(victim)
    else:
        log.mkdir()
    with pytest.raises(OSError, match=r".*"):
        os.close(open_log(log, anew=True))
    assert victim.read_text() == "precious"


def test_a_log_that_others_could_read_is_theirs_no_more(tmp_path: Path) -> None:
    log = tmp_path / "keeper.log"
    log.write_text("before\n")
    log.chmod(0o666)
    with os.fdopen(open_log(log), "w") as file:
        file.write("after\n")
    assert log.read_text() == "before\nafter\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_file_takes_the_place_of_a_link_and_not_of_what_that_leads_to(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "keeper.json").symlink_to("victim")
    write_bytes(tmp_path / "keeper.json", b"ours")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "keeper.json").read_bytes() == b"ours"
    assert not (tmp_path / "keeper.json").is_symlink()
