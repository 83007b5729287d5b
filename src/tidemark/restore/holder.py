"""Driving a holder process: see native/holder.h for what is said."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from enum import IntEnum
from pathlib import Path
from typing import Self

import tidemark
from tidemark.errors import TidemarkError

_REQUEST = struct.Struct("=QQQQQIiii")
_ANSWER = struct.Struct("=qQ")


class _Operation(IntEnum):
    CREATE = 1
    OPEN = 2
    MAP = 3
    SAVE = 4
    STORE = 5
    LOAD = 6
    GIVE = 7


class HolderError(TidemarkError):
    """A holder could not do what it was told."""


def _program() -> Path:
    """Return the path of the holder program, which was built with the native library."""
    for directory in tidemark.__path__:
        path = Path(directory, "tidemark-holder")
        if path.exists():
            return path
    raise HolderError("the program tidemark-holder is not installed; install the package again")


class Holder:
    """One holder process, standing for process ``number`` of a dump; a context manager."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen([str(_program())], stdin=theirs.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.wait()

    @property
    def pid(self) -> int:
        """The process id of the holder."""
        return self._process.pid

    def create(self, size: int) -> int:
        """Have it create a memory file of ``size`` bytes; return its number there."""
        return self._ask(_Operation.CREATE, length=size)

    def open(self, creator: Holder, number: int) -> int:
        """Have it open the file ``number`` of another holder; return its number there."""
        return self._ask(_Operation.OPEN, number=number, peer=creator.pid)

    def map(self, number: int, offset: int, address: int, length: int, protection: int) -> None:
        """Have it map a file at ``address``, where nothing may stand.

        :raises HolderError: when something does
        """
        self._ask(
            _Operation.MAP,
            number=number,
            offset=offset,
            address=address,
            length=length,
            protection=protection,
        )

    def save(self, address: int, length: int, out: int, offset: int) -> None:
        """Have it write what it reads at ``address`` to our file ``out``, at ``offset``."""
        self._ask(_Operation.SAVE, address=address, length=length, offset=offset, beside=out)

    def store(self, address: int, value: int) -> None:
        """Have it store a 64-bit word."""
        self._ask(_Operation.STORE, address=address, value=value)

    def load(self, address: int) -> int:
        """Return the 64-bit word that it reads."""
        return self._ask(_Operation.LOAD, address=address)

    def give(self, number: int) -> int:
        """Return a descriptor of ours for its file ``number``."""
        self._send(_Operation.GIVE, number=number)
        _, descriptors = self._receive(_Operation.GIVE)
        return descriptors[0]

    def _ask(self, operation: _Operation, beside: int | None = None, **fields: int) -> int:
        self._send(operation, beside, **fields)
        return self._receive(operation)[0]

    def _send(self, operation: _Operation, beside: int | None = None, **fields: int) -> None:
        names = ("address", "length", "offset", "value", "protection", "number", "peer")
        request = _REQUEST.pack(operation, *(fields.get(name, 0) for name in names), 0)
        socket.send_fds(self._socket, [request], [] if beside is None else [beside])

    def _receive(self, operation: _Operation) -> tuple[int, list[int]]:
        answer, descriptors, _, _ = socket.recv_fds(self._socket, _ANSWER.size, 1)
        if len(answer) != _ANSWER.size:
            raise HolderError(
                f"the process that stands for process {self.number} ended at {operation.name}"
            )
        error: int
        value: int
        error, value = _ANSWER.unpack(answer)
        if error:
            raise HolderError(
                f"the process that stands for process {self.number} failed at {operation.name}: "
                f"{os.strerror(error)}"
            )
        return value, descriptors
