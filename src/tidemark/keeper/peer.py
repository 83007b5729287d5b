"""One client of the keeper: what it says and what it is told, without ever waiting for it."""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tidemark.keeper.protocol import BATCH, HEAD
from tidemark.keeper.requests import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tidemark.keeper.loop import Loop

    OnMessage = Callable[["Peer", bytearray | None], object]

_AT_ONCE = 1 << 16
_CREDENTIALS = struct.Struct("iII")  # struct ucred


@dataclass
class Chunk:
    """A part of what is said, and descriptors that go with its first byte.

    They are somebody else's unless they are ``kept``: he may close them when this is sent later.
    """

    data: memoryview
    descriptors: list[int] = field(default_factory=list)
    kept: bool = False

    def send(self, connection: socket.socket) -> bool:
        """Send some of it, and return whether there is more.

        :raises OSError: when nothing can be sent
        """
        if self.descriptors:
            count = socket.send_fds(connection, [self.data], self.descriptors)
        else:
            count = connection.send(self.data)
        self.forget()
        self.data = self.data[count:]
        return bool(self.data)

    def keep(self) -> None:
        """Have copies of the descriptors.

        :raises OSError: when there can be none
        """
        if not self.kept:
            others, self.descriptors, self.kept = self.descriptors, [], True
            self.descriptors.extend(map(os.dup, others))

    def forget(self) -> None:
        """Let go of the descriptors."""
        if self.kept:
            for descriptor in self.descriptors:
                os.close(descriptor)
        self.descriptors, self.kept = [], False


class Peer:
    """A connection that is read and written as far as it goes, and no further.

    One request is handled at a time: nothing is read before its answer is gone. So a client that
    does not read, or says too much, costs one answer and a few bytes, and no time.

    :param on_message: called with a whole message; None for one that is longer than any may be
    :param on_gone: called when it has hung up, or said what is none
    """

    def __init__(
        self,
        connection: socket.socket,
        loop: Loop,
        on_message: OnMessage,
        on_gone: Callable[[Peer], object],
    ) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._loop = loop
        self._on_message = on_message
        self._on_gone = on_gone
        self._came = bytearray()
        self._due: deque[Chunk] = deque()
        self.pid = _pid_of(connection)
        self._ends = False  # when all is said
        self.handling = False
        self._watched = False

    def begin(self) -> None:
        """Listen to it."""
        self._watch_reading()

    @property
    def closed(self) -> bool:
        """Whether the connection is over."""
        return self._connection.fileno() < 0

    def close(self) -> None:
        """Hang up."""
        self._watch_nothing()
        for chunk in self._due:
            chunk.forget()
        self._due.clear()
        self._connection.close()

    # What it says

    def _on_readable(self) -> None:
        try:
            came = self._connection.recv(_AT_ONCE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            came = b""
        if not came:
            self._on_gone(self)
            return
        self._came += came
        self._handle_next()

    def _handle_next(self) -> None:
        """Handle the next message, if it has come as a whole, and the last one was answered."""
        while not (self.closed or self.handling or self._due) and len(self._came) >= HEAD.size:
            length, descriptors = HEAD.unpack_from(self._came)
            if length > MOST_BYTES or descriptors:
                self._handle(None)  # where the next one begins nobody can tell
                self.end()
            elif len(self._came) >= HEAD.size + length:
                message = self._came[HEAD.size : HEAD.size + length]
                del self._came[: HEAD.size + length]
                self._handle(message)
            else:
                return

    def _handle(self, message: bytearray | None) -> None:
        self._watch_nothing()
        self.handling = True
        try:
            self._on_message(self, message)
        finally:
            self.handling = False
        if not (self.closed or self._due or self._ends):
            self._watch_reading()

    # What it is told

    def send(self, chunks: Sequence[bytes], descriptors: Sequence[int] = ()) -> None:
        """Say something, now or when it is read: a head, copies of descriptors, and the rest."""
        head, *rest = chunks
        self._due.append(Chunk(memoryview(head)))
        for first in range(0, len(descriptors), BATCH):
            some = descriptors[first : first + BATCH]
            self._due.append(Chunk(memoryview(b"+"), list(some)))
        self._due.extend(Chunk(memoryview(chunk)) for chunk in rest if chunk)
        self._flush()

    def end(self) -> None:
        """Hang up when all has been said."""
        self._ends = True
        if not (self.closed or self._due):
            self._on_gone(self)

    def _flush(self) -> None:
        try:
            if not self._send_due():
                self._watch_writing()
                return
        except OSError:
            self._on_gone(self)
            return
        if self._ends:
            self._on_gone(self)
        elif not self.handling:
            self._watch_reading()
            self._handle_next()

    def _send_due(self) -> bool:
        """Send as much as goes; return whether that is all.

        :raises OSError: when the other has gone, or what is left cannot be kept for it
        """
        try:
            while self._due:
                if not self._due[0].send(self._connection):
                    self._due.popleft()
        except (BlockingIOError, InterruptedError):
            for chunk in self._due:
                chunk.keep()
        return not self._due

    # What is waited for

    def _watch_reading(self) -> None:
        self._watch(self._on_readable, writable=False)

    def _watch_writing(self) -> None:
        self._watch(self._flush, writable=True)

    def _watch(self, ready: Callable[[], object], *, writable: bool) -> None:
        """Wait until there is something to read, or room to write; hang up where that fails."""
        self._watch_nothing()
        try:
            self._loop.add(self._connection.fileno(), ready, writable=writable)
        except OSError:
            self._on_gone(self)
        else:
            self._watched = True

    def _watch_nothing(self) -> None:
        if self._watched:
            self._watched = False
            with suppress(KeyError, ValueError):
                self._loop.remove(self._connection.fileno())


def _pid_of(connection: socket.socket) -> int:
    """Return the process that has connected: unix(7), SO_PEERCRED."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(found)[0])
