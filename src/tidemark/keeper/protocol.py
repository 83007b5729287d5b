"""The messages between the keeper and its clients: a head, descriptors beside it, and JSON."""

from __future__ import annotations

import json
import os
import resource
import socket
import struct
from typing import TYPE_CHECKING, Any

from tidemark.errors import KeeperError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BATCH = 250
"""How many descriptors go at a time: SCM_MAX_FD of unix(7) is 253."""

HEAD = struct.Struct("<QI")  # bytes of JSON, number of descriptors
_SANE_BYTES = 1 << 32


def send(peer: socket.socket, message: dict[str, Any]) -> None:
    """Send ``message``.

    :raises OSError: when the peer has gone
    """
    body = json.dumps(message).encode()
    peer.sendall(HEAD.pack(len(body), 0) + body)


def receive(peer: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return the next message and its descriptors; None when the peer has closed.

    :raises KeeperError: when it breaks off within a message, or says what is none
    :raises OSError: when the peer has gone
    """
    first = peer.recv(HEAD.size)
    if not first:
        return None
    length, count = HEAD.unpack(first + _receive_exactly(peer, HEAD.size - len(first)))
    descriptors = _receive_descriptors(peer, count)
    try:
        return _message(_receive_exactly(peer, length)), descriptors
    except BaseException:
        _close(descriptors)
        raise


def _message(text: bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError as error:
        raise KeeperError(f"what came on the keeper's socket is no message: {error}") from error
    if not isinstance(message, dict):
        raise KeeperError(f"what came on the keeper's socket is no message: {message!r:.40}")
    return message


def _receive_descriptors(peer: socket.socket, count: int) -> list[int]:
    """Return the ``count`` descriptors that follow; the limit on open files is in no way."""
    if count:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    descriptors: list[int] = []
    while len(descriptors) < count:
        byte, came, _, _ = socket.recv_fds(peer, 1, BATCH)
        descriptors += came
        if not byte or len(came) != min(BATCH, count - len(descriptors) + len(came)):
            _close(descriptors)
            raise KeeperError(
                f"{len(descriptors)} of {count} descriptors came from the keeper; "
                "raise the limit on open files (ulimit -n)"
            )
    return descriptors


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _receive_exactly(peer: socket.socket, length: int) -> bytes:
    if length > _SANE_BYTES:
        raise KeeperError(f"a message of {length} bytes was announced on the keeper's socket")
    body = bytearray(length)
    view = memoryview(body)
    while view:
        count = peer.recv_into(view)
        if count == 0:
            raise KeeperError("the connection to the keeper broke off within a message")
        view = view[count:]
    return bytes(body)


class SocketPath:
    """The address of a socket file, however long its path; a context manager.

    An address has room for 107 bytes (unix(7)), so the file is named through a descriptor of
    its directory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._directory = -1

    def __enter__(self) -> str:
        self._directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._directory}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._directory)
