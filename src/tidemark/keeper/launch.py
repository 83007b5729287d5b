"""Starting a keeper in the background."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tidemark.errors import KeeperError
from tidemark.files import storage_errors
from tidemark.keeper.client import error_of

if TYPE_CHECKING:
    from pathlib import Path


def launch(workload_json: str, directory: Path, *words: str) -> dict[str, Any]:
    """Start a keeper that works in ``directory``; return what it says when it is ready.

    It is detached: in a session of its own, with no terminal. It ends with the process that
    TIDEMARK_OWNER_PID names in the environment.

    :param words: further words of the keeper's command line
    :raises TidemarkError: what the keeper could not do, as its own class
    """
    with storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        log = (directory / "keeper.log").open("ab")
    with log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tidemark.keeper.main", str(directory), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            text=True,
        )
    assert keeper.stdin is not None and keeper.stdout is not None  # noqa: S101, PT018 - for mypy
    with contextlib.suppress(BrokenPipeError), keeper.stdin:  # if so, it has ended at once
        keeper.stdin.write(workload_json)
    line = keeper.stdout.readline()
    keeper.stdout.close()
    if not line:
        raise KeeperError(f"the keeper ended at once; see {directory / 'keeper.log'}")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        keeper.wait()
        raise error_of(answer)
    # It is to outlive us: nobody waits for it.
    keeper.returncode = 0
    return answer
