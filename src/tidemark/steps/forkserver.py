"""A fork server: it has loaded what the scripts of steps need, and forks to run one.

usage: python -m tidemark.steps.forkserver

Descriptor 3 is the socket on which native/step.c asks, where the request is described. The server
ends with the process that owns the run, or before, when that one says so (:func:`end`); its
children go on until they end.
"""

from __future__ import annotations

import atexit
import gc
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tidemark.keeper.launch import OWNER_VARIABLE
from tidemark.native.process import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME_VARIABLE = "TIDEMARK_FORKSERVER"
SCRIPTS_VARIABLE = "TIDEMARK_SCRIPTS"

_REQUEST = struct.Struct("=II")
_ANSWER = struct.Struct("=i")
_CREDENTIALS = struct.Struct("=iII")
_DESCRIPTORS = 4
_LISTENER = 3
_READY = 0
_PATIENCE = 5.0
"""Seconds for a request to come in, which a client sends at once; and for a server to end."""


class _Request(NamedTuple):
    """The words of a script, its environment, and descriptors: three streams and a directory."""

    words: list[str]
    environment: dict[str, str]
    descriptors: list[int]


def main() -> None:
    """Serve until the owner ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are the children's, and the owner's
    owner = int(os.environ[OWNER_VARIABLE])
    with suppress(ProcessLookupError), socket.socket(fileno=_LISTENER) as listener:
        alive = os.pidfd_open(owner)
        _load(Path(os.environ[SCRIPTS_VARIABLE]))
        _Server(listener, owner, alive).serve()


def end(name: str) -> None:
    """End the server of this process, if there is one, and wait until it has."""
    with socket.socket(socket.AF_UNIX) as server, suppress(OSError):
        server.settimeout(_PATIENCE)
        server.connect(f"\0{name}")
        server.recv(1)


def _load(scripts: Path) -> None:
    """Load the modules of all scripts, where children find them without copying a page."""
    for script in scripts.glob("*.py"):
        runpy.run_path(str(script))
    gc.collect()
    gc.freeze()


class _Server:
    """Accepts, forks, and tells clients what became of their children."""

    def __init__(self, listener: socket.socket, owner: int, alive: int) -> None:
        self._listener, self._owner, self._alive = listener, owner, alive
        self._until_the_end: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, tuple[int, socket.socket]] = {}  # by pidfd

    def serve(self) -> None:
        """Return when the owner has ended, and then all children."""
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._alive, selectors.EVENT_READ, self._close)
        while self._selector.get_map():
            for key, _ in self._selector.select():
                if self._selector.get_map().get(key.fd) is key:  # no call before it ended it
                    key.data(key.fd)

    def _close(self, _: int) -> None:
        self._selector.unregister(self._alive)
        self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self, _: int) -> None:
        client, _ = self._listener.accept()
        pid, user = _peer(client)
        if pid == self._owner:
            self._until_the_end.append(client)
            self._close(self._alive)
            return
        request = self._request_of(client) if user == os.geteuid() else None
        if request is None:
            client.close()
            return
        if (child := os.fork()) == 0:
            _run(request)
        for descriptor in request.descriptors:
            os.close(descriptor)
        pidfd = os.pidfd_open(child)
        self._children[pidfd] = child, client
        self._selector.register(pidfd, selectors.EVENT_READ, self._reap)
        self._selector.register(client, selectors.EVENT_READ, lambda _: self._kill(pidfd))
        self._answer(client, child)

    def _request_of(self, client: socket.socket) -> _Request | None:
        self._answer(client, _READY)
        return _receive(client)

    def _kill(self, pidfd: int) -> None:
        """Kill a child whose client is gone: it was killed, and stood for the child."""
        child, client = self._children[pidfd]
        self._selector.unregister(client)
        os.kill(child, signal.SIGKILL)

    def _reap(self, pidfd: int) -> None:
        child, client = self._children.pop(pidfd)
        _, status = os.waitpid(child, 0)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        with suppress(KeyError):
            self._selector.unregister(client)
        with client:
            self._answer(client, status)

    @staticmethod
    def _answer(client: socket.socket, number: int) -> None:
        with suppress(OSError):  # it is gone
            client.send(_ANSWER.pack(number))


def _peer(client: socket.socket) -> tuple[int, int]:
    """Return the process and the user of a client."""
    found = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _ = _CREDENTIALS.unpack(found)
    return pid, user


def _receive(client: socket.socket) -> _Request | None:
    """Return what a client asks for; None where it went away before it had said all."""
    client.settimeout(_PATIENCE)
    descriptors: list[int] = []
    with suppress(OSError, struct.error):
        head, descriptors, _, _ = socket.recv_fds(client, _REQUEST.size, _DESCRIPTORS)
        size, words = _REQUEST.unpack(head)
        data = bytearray()
        while len(data) < size and (more := client.recv(size - len(data))):
            data += more
        if len(data) == size and len(descriptors) == _DESCRIPTORS:
            client.settimeout(None)
            strings = [os.fsdecode(string) for string in bytes(data).split(b"\0")[:-1]]
            pairs = (string.partition("=") for string in strings[words:])
            environment = {name: value for name, _, value in pairs}
            return _Request(strings[:words], environment, descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    return None


def _run(request: _Request) -> None:
    """Be the Python that runs a script, and end."""
    code = 1
    try:
        die_with_parent(signal.SIGKILL)
        _become(request)
        code = _code_of(request.words)
        atexit._run_exitfuncs()  # noqa: SLF001 - as a Python that ends does
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _become(request: _Request) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    *streams, directory = request.descriptors
    os.fchdir(directory)
    for stream, descriptor in enumerate(streams):
        os.dup2(descriptor, stream)
    os.closerange(len(streams), os.sysconf("SC_OPEN_MAX"))  # the server's
    os.environ.clear()
    os.environ.update(request.environment)
    sys.argv = request.words


def _code_of(words: Sequence[str]) -> int:
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:  # as the interpreter does
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
