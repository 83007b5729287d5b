"""Why a keeper has ended: said in its log, and in a file beside it that clients read."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

KEEPER_END = "keeper.end"
"""Holds one sentence. A keeper that was killed has it from its watchdog (native/watchdog.c)."""

_PATIENCE = 0.5
_PAUSE = 0.01
_MOST_BYTES = 4096


def note_end(directory: Path, reason: str) -> None:
    """Say why the keeper that works in ``directory`` ends, before anybody can see that it does."""
    log.warning("the keeper (process %d) has ended: %s", os.getpid(), reason)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(directory / KEEPER_END, flags, 0o600)
    except OSError as error:
        log.warning("clients are not told: %s", error)
        return
    with contextlib.suppress(OSError):  # a full disk; the log may have room
        os.write(descriptor, reason.encode(errors="replace") + b"\n")
    os.close(descriptor)


def forget_end(directory: Path) -> None:
    """Remove what a former keeper in ``directory`` has said of its end."""
    (directory / KEEPER_END).unlink(missing_ok=True)


def end_of(directory: Path, *, wait: bool = False) -> str:
    """Return why the keeper in ``directory`` has ended; empty where that is not known.

    :param wait: it has ended just now, and its watchdog may still be about to say why
    """
    deadline = time.monotonic() + (_PATIENCE if wait else 0.0)
    while not (said := _read(directory / KEEPER_END)) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return said


def _read(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, _MOST_BYTES).decode(errors="replace").strip()
    except OSError:
        return ""
    finally:
        os.close(descriptor)
