"""What groups are put on: a stage with a directory in memory, and how a sequence is divided."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from operations import Operation
from stage import NOBODY, Stage

from tidemark.errors import KeeperError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PROGRAMS = Path(__file__).resolve().parents[1] / "live" / "programs"

EPOCH = Operation("epoch")
"""Where one epoch ends and the next begins."""


@dataclass(frozen=True)
class Setting:
    """What a group is of: its program, how writes are tracked, and for whom.

    ``user``: the words that make a command another user's; ``python``: what that one may execute.
    """

    program: Path
    tracker: str
    user: tuple[str, ...] = ()
    python: str = sys.executable


def build(directory: Path) -> Path:
    """Compile the program of which the group is made."""
    program = directory / "actor"
    flags = ["-std=gnu11", "-O1", "-pthread"]
    subprocess.run(["cc", *flags, "-o", program, *sorted(_PROGRAMS.glob("*.c"))], check=True)
    return program


@contextlib.contextmanager
def new_stage(setting: Setting) -> Iterator[Stage]:
    """Give a stage with a directory in memory; nothing of it is left behind."""
    mark = f"TIDEMARK_TEST={secrets.token_hex(8)}"
    name, _, value = mark.partition("=")
    os.environ.update({name: value, "TIDEMARK_OWNER_PID": str(os.getpid())})
    shm = Path("/dev/shm")  # noqa: S108 - memory is meant
    directory = Path(tempfile.mkdtemp(prefix="tidemark-torture-", dir=shm))
    if setting.user:
        os.chown(directory, NOBODY, NOBODY)
    try:
        with Stage(directory, setting.program, mark, setting.user, setting.python) as stage:
            stage.declared = {"tracker": setting.tracker, "timeout": 300.0}
            yield stage
    except KeeperError:
        sys.stderr.write((directory / "keeper.log").read_text())
        raise
    finally:
        shutil.rmtree(directory)


def parts(sequence: Sequence[Operation]) -> Iterator[list[Operation]]:
    """Yield what is between the ends of epochs."""
    part: list[Operation] = []
    for operation in (*sequence, EPOCH):
        if operation != EPOCH:
            part.append(operation)
        elif part:
            yield part
            part = []
