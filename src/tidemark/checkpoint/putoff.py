"""Putting off Ctrl-Z: while somebody is stopped, a workload that stands for him stands on."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def stop_put_off() -> Iterator[Callable[[], object]]:
    """Have SIGTSTP wait until the block ends, or until what it gives is called."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})

    def allow() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield allow
    finally:
        allow()
