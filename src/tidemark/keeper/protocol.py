"""The messages between the keeper and its clients: a length, JSON, and descriptors beside it."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from tidemark.errors import KeeperError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_DESCRIPTORS = 250
"""What the kernel passes in one message: SCM_MAX_FD of unix(7) is 253."""

_LENGTH = struct.Struct("<Q")
_SANE_BYTES = 1 << 32


def send(peer: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send ``message``, with copies of open ``descriptors``.

    :raises OSError: when the peer has gone
    """
    body = json.dumps(message).encode()
    socket.send_fds(peer, [_LENGTH.pack(len(body))], list(descriptors))
    peer.sendall(body)


def receive(peer: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return the next message and its descriptors; None when the peer has closed.

    :raises KeeperError: when it breaks off within a message
    """
    head, descriptors, _, _ = socket.recv_fds(peer, _LENGTH.size, MAX_DESCRIPTORS)
    if not head:
        return None
    try:
        head += _receive_exactly(peer, _LENGTH.size - len(head))
        (length,) = _LENGTH.unpack(head)
        return json.loads(_receive_exactly(peer, length)), descriptors
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise


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
