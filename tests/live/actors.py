"""Processes that do what a test tells them, each on a line of its own: see programs/actor.h."""

from __future__ import annotations

import itertools
import os
import secrets
import select
import socket
import time
from dataclasses import dataclass
from mmap import MAP_ANONYMOUS, MAP_SHARED, PROT_READ, PROT_WRITE
from typing import TYPE_CHECKING

from system import PAGE, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

READ_WRITE = PROT_READ | PROT_WRITE
AT_FDCWD = -100
MAP_FIXED = 0x10

CLONE_VM, CLONE_VFORK, CLONE_PARENT, CLONE_UNTRACED = 0x100, 0x4000, 0x8000, 0x800000
CLONE_A_THREAD = CLONE_VM | 0x50E00
"""As pthread_create(3): with CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_THREAD, CLONE_SYSVSEM."""
SIGCHLD = 17

Argument = int | str | bytes
"""A number, a text, or bytes that are handed over by their address and come back."""

_values = itertools.count(secrets.randbits(32) << 20)
"""What is stored: never the same twice. Shifted by 8 it has to fit into a word."""


@dataclass(frozen=True)
class Window:
    """One mapping, known by its addresses: ``count`` pages of an object from ``page`` on."""

    address: int
    page: int
    count: int

    def at(self, page: int) -> int:
        """Return the address of a page of the object."""
        assert self.page <= page < self.page + self.count
        return self.address + (page - self.page) * PAGE

    @property
    def bytes(self) -> int:
        """The length in bytes."""
        return self.count * PAGE


class Hall:
    """Where actors introduce themselves."""

    def __init__(self) -> None:
        self.name = f"tidemark-test-{secrets.token_hex(8)}"
        self._numbers = itertools.count(1)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(f"\0{self.name}")
        self._listener.listen(64)
        self._listener.settimeout(0.01)
        self._actors: dict[str, Actor] = {}

    def new_name(self) -> str:
        """Return a name that nobody has."""
        return f"actor-{next(self._numbers)}"

    def meet(self, name: str, in_vain: Callable[[], object] = lambda: None) -> Actor:
        """Return the actor of that name, when it has come.

        :param in_vain: called while it has not; raises when it never will
        """
        deadline = time.monotonic() + PATIENCE
        while name not in self._actors:
            try:
                line, _ = self._listener.accept()
            except TimeoutError:
                in_vain()
                assert time.monotonic() < deadline, f"{name} did not come"
                continue
            line.settimeout(PATIENCE)
            who, pid, tid = line.recv(1024).decode().split("\t")
            self._actors[who] = Actor(self, line, int(pid), int(tid))
        return self._actors[name]

    def actors(self) -> list[Actor]:
        """Return all who have come."""
        return list(self._actors.values())

    def close(self) -> None:
        """Hang up on all actors, which ends them."""
        self._listener.close()
        for actor in self._actors.values():
            actor.hang_up()


class Actor:
    """One process, or one thread of it, that obeys."""

    def __init__(self, hall: Hall, line: socket.socket, pid: int, tid: int) -> None:
        self.pid = pid
        self.tid = tid
        self._hall = hall
        self._line = line
        self._owes = False  # an answer that nobody has waited for

    def hang_up(self) -> None:
        """End the line, and with it the process."""
        self._line.close()

    # Talking

    def begin(self, verb: str, *arguments: Argument) -> None:
        """Tell it to do something, and do not wait until it has."""
        self.finish()
        self._line.send("\t".join([verb, *map(_worded, arguments)]).encode())

    def end(self) -> tuple[int, str, list[bytes]]:
        """Return what came of it: the result, text, and the bytes after the call.

        :raises OSError: when it failed
        """
        message = self._line.recv(1 << 20).decode()
        assert message, f"process {self.pid} hung up"
        result, text, *buffers = message.split("\t")
        if int(result) < 0:
            raise OSError(-int(result), os.strerror(-int(result)))
        return int(result), text, [bytes.fromhex(buffer) for buffer in buffers]

    def ask(self, verb: str, *arguments: Argument) -> int:
        """Tell it to do something and return the result."""
        self.begin(verb, *arguments)
        return self.end()[0]

    def call(self, name: str, *arguments: Argument) -> int:
        """Have it make a system call."""
        return self.ask("call", name, *arguments)

    def tell(self, verb: str, *arguments: Argument) -> None:
        """Tell it to do something from which it will not come back."""
        self.begin(verb, *arguments)

    def charge(self, verb: str, *arguments: Argument) -> None:
        """Tell it to do something, of which nobody waits for the end before it is told the next."""
        self.begin(verb, *arguments)
        self._owes = True

    def finish(self) -> None:
        """Wait for the end of what it was charged with, if it was.

        :raises OSError: when that failed
        """
        if self._owes:
            self._owes = False
            self.end()

    def has_answered(self) -> bool:
        """Return whether it has said something that nobody has read yet."""
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        return bool(poll.poll(0))

    # Processes

    def fork(self, how: str = "fork") -> Actor:
        """Return its new child; ``how`` may also be thread or clone_vm."""
        name = self._hall.new_name()
        self.ask(how, name)
        return self._hall.meet(name)

    def vfork(self) -> Actor:
        """Return its new child, in whose hands its memory is; our answer comes at the end."""
        name = self._hall.new_name()
        self.begin("vfork", name)
        return self._hall.meet(name)

    def clone(self, flags: int) -> Actor:
        """Return a process or thread that it makes with any flags."""
        name = self._hall.new_name()
        self.begin("clone", flags, name)
        made = self._hall.meet(name)
        if not flags & CLONE_VFORK:
            self.end()
        return made

    def execute(self) -> Actor:
        """Return the new program that it becomes."""
        name = self._hall.new_name()
        self.tell("exec", name)
        return self._hall.meet(name)

    def exit(self, code: int = 0) -> None:
        """Have it end."""
        self.tell("call", "exit_group", code)

    def reap(self, child: Actor) -> int:
        """Have it wait for the end of a child; return the wait status."""
        buffer = bytes(4)
        self.begin("call", "wait4", child.pid, buffer, 0x40000000, 0)  # __WALL
        return int.from_bytes(self.end()[2][0], "little")

    # Objects

    def memfd(self, pages: int, name: str = "region", flags: int = 1) -> int:
        """Return a descriptor of a new memory file."""
        descriptor = self.call("memfd_create", name, flags)
        self.truncate(descriptor, pages)
        return descriptor

    def open(self, path: str, flags: int = os.O_RDWR) -> int:
        """Return a descriptor of a file."""
        return self.call("openat", AT_FDCWD, path, flags | os.O_CLOEXEC, 0o600)

    def file(self, path: str, pages: int) -> int:
        """Return a descriptor of a new file."""
        descriptor = self.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self.truncate(descriptor, pages)
        return descriptor

    def truncate(self, descriptor: int, pages: int) -> None:
        """Set the length of a file."""
        self.call("ftruncate", descriptor, pages * PAGE)

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        self.call("close", descriptor)

    def pwrite(self, descriptor: int, page: int) -> None:
        """Write to a page through a descriptor."""
        value = next(_values).to_bytes(8, "little")
        assert self.call("pwrite64", descriptor, value, 8, page * PAGE) == 8

    def pread(self, descriptor: int, page: int) -> None:
        """Read from a page through a descriptor."""
        assert self.call("pread64", descriptor, bytes(8), 8, page * PAGE) == 8

    # Mappings

    def map(
        self,
        descriptor: int,
        count: int,
        page: int = 0,
        protection: int = READ_WRITE,
        address: int | None = None,
    ) -> Window:
        """Map pages of an object; at ``address`` whatever stands there."""
        flags = MAP_SHARED | (MAP_FIXED if address else 0)
        flags |= MAP_ANONYMOUS if descriptor < 0 else 0
        start = self.call(
            "mmap", address or 0, count * PAGE, protection, flags, descriptor, page * PAGE
        )
        return Window(start, page, count)

    def anonymous(self, count: int) -> Window:
        """Map new anonymous memory, shared with children to come."""
        return self.map(-1, count)

    def segment(self, pages: int) -> int:
        """Return the id of a new System V segment, which goes with its last mapping."""
        return self.call("shmget", 0, pages * PAGE, 0o1600)

    def attach_segment(self, segment: int, count: int) -> Window:
        """Map a segment, and mark it to go when nobody maps it any more."""
        address = self.call("shmat", segment, 0, 0)
        self.call("shmctl", segment, 0, 0)
        return Window(address, 0, count)

    def unmap(self, window: Window) -> None:
        """Unmap a mapping."""
        self.call("munmap", window.address, window.bytes)

    def remap(self, window: Window, count: int, flags: int, *, old: int | None = None) -> Window:
        """Move a mapping, or change its length; return it as it is then."""
        length = window.bytes if old is None else old * PAGE
        address = self.call("mremap", window.address, length, count * PAGE, flags, 0)
        return Window(address, window.page, count)

    def protect(self, window: Window, protection: int) -> None:
        """Change what may be done with a mapping."""
        self.call("mprotect", window.address, window.bytes, protection)

    # Loads and stores

    def store(self, window: Window, *pages: int) -> None:
        """Store something new to each of the pages."""
        for page in pages:
            self.ask("fill", window.at(page), 1, next(_values))

    def fill(self, window: Window, first: int | None = None, count: int | None = None) -> None:
        """Store something new to a run of pages; by default to all."""
        first = window.page if first is None else first
        count = window.page + window.count - first if count is None else count
        self.ask("fill", window.at(first), count, next(_values) << 8)

    def load(self, window: Window, page: int) -> int:
        """Return the first word of a page."""
        self.begin("peek", window.at(page), bytes(8))
        return int.from_bytes(self.end()[2][0], "little")

    def touch(self, window: Window) -> None:
        """Load from each page of a mapping."""
        self.begin("touch", window.address, window.count)
        self._line.recv(1024)  # the sum may look like an error


def _worded(argument: Argument) -> str:
    if isinstance(argument, bytes):
        return f"h{argument.hex()}"
    return f"s{argument}" if isinstance(argument, str) else f"i{argument}"
