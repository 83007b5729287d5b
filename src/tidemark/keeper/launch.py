"""Starting a keeper in the background."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast

from tidemark.directories import PRIVATE, directory_mode, make_directory
from tidemark.errors import KeeperError
from tidemark.files import open_log, storage_errors
from tidemark.keeper.client import error_of
from tidemark.keeper.ending import end_of, forget_end
from tidemark.keeper.watched import watchdog
from tidemark.workload import HOLD_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tidemark.keeper.record import KeeperRecord

OWNER_VARIABLE = "TIDEMARK_OWNER_PID"


def launch(
    workload_json: str,
    directory: Path,
    *words: str,
    owner: int | None = None,
    streams: Sequence[int] = (),
) -> KeeperRecord:
    """Start a keeper that works in ``directory``; return what it says when it is ready.

    It is detached: in a session of its own, with no terminal. It ends with its owner, or else with
    the process that TIDEMARK_OWNER_PID names in the environment.

    :param words: further words of the keeper's command line: its mode; where there is one, the
        workload runs while it is kept, and a watchdog sees to that
    :param streams: descriptors that it gets, and finds as the last word
    :raises TidemarkError: what the keeper could not do, as its own class
    """
    given = [",".join(map(str, streams))] if streams else []
    environment = {**os.environ, OWNER_VARIABLE: str(owner)} if owner else None
    with storage_errors(directory):
        make_directory(directory, directory_mode(PRIVATE))
        forget_end(directory)
        log = open_log(directory / "keeper.log")
    try:
        keeper = subprocess.Popen(
            _command(workload_json, directory, [*words, *given]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            pass_fds=streams,
            env=environment,
            text=True,
        )
    finally:
        os.close(log)
    assert keeper.stdin is not None and keeper.stdout is not None  # noqa: S101, PT018 - for mypy
    try:
        with contextlib.suppress(BrokenPipeError), keeper.stdin:  # if so, it has ended at once
            keeper.stdin.write(workload_json)
        line = keeper.stdout.readline()
    except BaseException:  # nobody would find it
        keeper.terminate()
        raise
    finally:
        keeper.stdout.close()
    if not line:
        why = end_of(directory, wait=True)
        why = f": {why}" if why else f"; see {directory / 'keeper.log'}"
        raise KeeperError(f"the keeper ended at once{why}")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        keeper.wait()
        raise error_of(answer)
    # It is to outlive us: nobody waits for it.
    keeper.returncode = 0
    return cast("KeeperRecord", answer)


def _command(workload_json: str, directory: Path, words: list[str]) -> list[str]:
    keeper = [sys.executable, "-m", "tidemark.keeper.main", str(directory), *words]
    if not words:
        return keeper
    hold = json.loads(workload_json).get("hold", HOLD_SECONDS)
    return [watchdog(), str(directory), f"{hold:g}", *keeper]
