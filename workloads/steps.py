"""The step protocol: a program asks its keeper for leave before each of its steps.

The keeper starts the program with TIDEMARK_STEP_FD in its environment, the number of an inherited
stream socket. Before each step the program's leader writes `?` and reads one byte: `g` is leave for
one step, `s` or the end of the stream tells it to stop, check itself and exit. While the leader
waits, every other process of the program is at rest in a system call that touches no shared memory,
so what the memory holds is a function of the seed and of the steps taken.
"""

import itertools
import os
import socket
from collections.abc import Iterator

VARIABLE = "TIDEMARK_STEP_FD"


class Steps:
    """The numbers of the steps to take, from 1: the keeper's to grant, or `limit` without one.

    Made before any process is forked, so that none but the leader holds the keeper's socket.
    """

    def __init__(self, limit: int) -> None:
        self.taken = 0
        self._limit = limit
        self._keeper = _keeper()

    def __iter__(self) -> Iterator[int]:
        for step in itertools.count(1):
            if not self._granted(step):
                return
            yield step
            self.taken = step

    def _granted(self, step: int) -> bool:
        if self._keeper is None:
            return step <= self._limit
        try:
            self._keeper.sendall(b"?")
            return self._keeper.recv(1) == b"g"
        except ConnectionError:  # a keeper that is gone has nothing to add
            return False


def _keeper() -> socket.socket | None:
    number = os.environ.pop(VARIABLE, None)
    if number is None:
        return None
    try:
        keeper = socket.socket(fileno=int(number))
    except (ValueError, OSError) as error:
        raise SystemExit(f"{VARIABLE}={number} is not an inherited socket: {error}.") from error
    keeper.set_inheritable(False)
    # A keeper must see the stream end when the leader does, whoever of its children lives on.
    os.register_at_fork(after_in_child=keeper.close)
    return keeper
