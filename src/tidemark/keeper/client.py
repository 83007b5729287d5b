"""Asking a keeper for a step."""

from __future__ import annotations

import math
import os
import select
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

from tidemark import proc
from tidemark.errors import KeeperError, TidemarkError
from tidemark.keeper.ending import end_of
from tidemark.keeper.protocol import SocketPath, receive, send
from tidemark.keeper.record import read_keeper

if TYPE_CHECKING:
    from pathlib import Path

    from tidemark.keeper.record import KeeperRecord

_LONGEST_POLL = (1 << 31) - 1
"""In milliseconds, as poll(2) takes them."""


class Client:
    """A connection to the keeper that ``keeper.json`` names; a context manager.

    :param remedy: what to do when it is gone
    :raises KeeperError: when that keeper is gone
    """

    def __init__(
        self, keeper_json: Path, *, remedy: str = "run the workload's live steps again"
    ) -> None:
        self._remedy = remedy
        self._directory = keeper_json.parent
        keeper = self._keeper = read_keeper(keeper_json)
        self._name = f"the keeper of workload {keeper['workload']} (process {keeper['pid']})"
        if not is_alive(keeper):
            raise self._gone()
        self._one_at_a_time = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with SocketPath(keeper_json.parent / keeper["socket"]) as address:
                self._socket.connect(address)
        except OSError as error:
            self._socket.close()
            raise self._gone() from error

    def _gone(self) -> KeeperError:
        why = end_of(self._directory, wait=True)
        if not why and is_alive(self._keeper):
            return KeeperError(f"{self._name} has hung up; its log may say why, and ask again")
        why = f" ({why})" if why else f", and {self._directory}/keeper.log may say why"
        return KeeperError(f"{self._name} is gone{why}; {self._remedy}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, step: str, **arguments: object) -> tuple[dict[str, Any], list[int]]:
        """Return the keeper's answer and the descriptors that came with it.

        :raises TidemarkError: the keeper's own error, or KeeperError when it is gone
        """
        try:
            with self._one_at_a_time:
                send(self._socket, {"step": step, **arguments})
                received = receive(self._socket)
        except OSError as error:
            raise self._gone() from error
        if received is None:
            raise self._gone()
        answer, descriptors = received
        if "error" in answer:
            for descriptor in descriptors:
                os.close(descriptor)
            raise error_of(answer)
        return answer, descriptors

    def wait(self, seconds: float | None, *others: int) -> None:
        """Let time pass, in which nothing is asked, until one of the descriptors can be read.

        :param others: these descriptors
        :raises KeeperError: when the keeper goes
        """
        own = self._socket.fileno()
        if own in readable(seconds, own, *others):
            raise self._gone()


def readable(seconds: float | None, *descriptors: int) -> list[int]:
    """Return which of some descriptors can be read, or are over; wait for one, but no longer.

    Not by select(2): that cannot look at descriptors beyond 1023.
    """
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    limit = None if seconds is None else min(math.ceil(seconds * 1000), _LONGEST_POLL)
    return [descriptor for descriptor, _ in poll.poll(limit)]


def is_alive(keeper: KeeperRecord) -> bool:
    """Return whether the keeper that wrote a keeper.json still runs."""
    return proc.is_running(keeper["pid"], keeper["start_time"])


def is_owned(keeper: KeeperRecord) -> bool:
    """Return whether a keeper and the process with which it ends both run."""
    owner = keeper["owner"]
    return is_alive(keeper) and (
        owner is None or proc.is_running(owner, keeper["owner_start_time"] or 0)
    )


def error_of(answer: dict[str, Any]) -> TidemarkError:
    """Return the error that an answer tells of, of the class that its exit code stands for."""
    kinds: list[type[TidemarkError]] = [TidemarkError, *TidemarkError.__subclasses__()]
    for kind in kinds:
        if kind.exit_code == answer["exit_code"]:
            return kind(answer["error"])
    return TidemarkError(answer["error"])
