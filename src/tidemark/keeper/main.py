"""The keeper's process: one thread, one socket, one workload.

``python -m tidemark.keeper.main DIRECTORY [MODE] < workload.json``, with the owner's pid
as TIDEMARK_OWNER_PID in the environment. It prints one line of JSON when the workload is ready, or
why it is not, and then serves until it is stopped, its owner ends, or nobody asks any more.

With ``checkpoints`` the workload runs all the time but while a checkpoint is taken, and runs on
when the keeper ends, however it does. Without, it is taken through epochs, and stands in between.

``job IN,OUT,ERR`` is for the program of a batch job, which gets these descriptors as its standard
streams, and need not share memory at once. It runs all the time, too, and also when the keeper is
killed; but with the keeper's owner it ends. How it ended is in ``ending.json``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemark import proc
from tidemark.errors import StorageError, TidemarkError
from tidemark.files import write_json
from tidemark.keeper.ending import note_end
from tidemark.keeper.launch import OWNER_VARIABLE
from tidemark.keeper.live import Live
from tidemark.keeper.loop import Ended
from tidemark.keeper.mishaps import describe
from tidemark.keeper.server import Server
from tidemark.keeper.session import Session
from tidemark.workload import Workload

if TYPE_CHECKING:
    from tidemark.keeper.checkpoint import Checkpoints

log = logging.getLogger(__name__)

SOCKET_NAME = "keeper.sock"
CHECKPOINTS = "checkpoints"
JOB = "job"
ENDING_JSON = "ending.json"

_SWITCH_SECONDS = 0.0005
"""How long the thread that serves the workload waits at most for what is done beside."""


def _run(
    workload: Workload, directory: Path, owner: int | None, mode: str, streams: tuple[int, ...]
) -> None:
    """Keep ``workload``; the first line on stdout says whether it is ready.

    Why it ends is said before its socket closes, so that whoever sees that can tell why.
    """
    outlives = mode in {CHECKPOINTS, JOB}
    live = Live(workload, directory, owner, outlives=outlives, streams=streams)
    session = Session(live)
    checkpoints = _checkpoints(live) if outlives else None
    spare = False  # until somebody knows of a program that we have started, it is to end with us
    server = Server(live, session, directory / SOCKET_NAME, checkpoints)
    try:
        session.begin()
        if checkpoints is not None:
            checkpoints.begin()
        server.listen()
        _announce(_introduction(live, session, owner))
        spare = outlives
        server.serve()
        note_end(directory, "it was asked to let the workload go")
    except Ended as ended:
        if mode == JOB:
            spare = False
            if live.tree.root_ending is not None:
                write_json(directory / ENDING_JSON, vars(live.tree.root_ending))
        note_end(directory, str(ended))
        raise
    except BaseException as error:
        if not isinstance(error, TidemarkError):
            log.exception("the keeper failed")
        note_end(directory, describe(error))
        raise
    finally:
        server.close()
        session.abandon(spare=spare)


def _introduction(live: Live, session: Session, owner: int | None) -> dict[str, Any]:
    """Return what is told of a keeper that is ready: the content of keeper.json."""
    return {
        "pid": os.getpid(),
        "start_time": proc.start_time(os.getpid()),
        "owner": owner,
        "owner_start_time": proc.start_time(owner) if owner else None,
        "node": os.uname().nodename,
        "batch_job": os.environ.get("SLURM_JOB_ID"),
        "socket": SOCKET_NAME,
        "life": session.life,
        "workload": live.workload.name,
        "root": live.tree.root_pid,
        "tracker": live.tracker,
        "tracker_reason": live.tracker_reason,
    }


def _checkpoints(live: Live) -> Checkpoints:
    from tidemark.keeper.checkpoint import Checkpoints  # epochs do without

    return Checkpoints(live)


def _announce(message: dict[str, Any]) -> None:
    """Tell who started us, and let go of their pipe; what is printed later goes to the log."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
    os.dup2(2, 1)


def main() -> int:
    """Run the keeper; return 0 also when it was told to end."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    sys.setswitchinterval(_SWITCH_SECONDS)
    directory = Path(sys.argv[1])
    workload = Workload.from_json(sys.stdin.read())
    owner = os.environ.get(OWNER_VARIABLE)
    mode, *rest = sys.argv[2:] or [""]
    streams = tuple(int(word) for words in rest for word in words.split(","))
    try:
        _run(workload, directory, int(owner) if owner else None, mode, streams)
    except TidemarkError as error:
        return _fail(error)
    except OSError as error:
        return _fail(StorageError(f"the keeper cannot work in {directory}: {error}"))
    except Ended:
        pass
    return 0


def _fail(error: TidemarkError) -> int:
    """Tell who started us, or the log where he has heard that all is well."""
    _announce({"error": str(error), "exit_code": error.exit_code})
    return error.exit_code


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # at once: what it traces is let go by that
