"""A control group (cgroup v2) of a test's own."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from system import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path("/sys/fs/cgroup")


class Cgroup:
    """One group, below the root."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, pid: int) -> None:
        """Move a process into it."""
        (self._path / "cgroup.procs").write_text(str(pid))

    def freeze(self, *, frozen: bool = True) -> None:
        """Freeze what is in it, or let it go, and wait until that is done."""
        (self._path / "cgroup.freeze").write_text("1" if frozen else "0")
        wait_until(lambda: self.is_frozen == frozen, f"{self._path} is frozen: {frozen}")

    @property
    def is_frozen(self) -> bool:
        """Whether all of it stands."""
        return "frozen 1" in (self._path / "cgroup.events").read_text()

    def reclaim(self, size: int) -> None:
        """Have the kernel take memory from it, as much of ``size`` as can be taken."""
        with contextlib.suppress(OSError):  # EAGAIN: it was less
            (self._path / "memory.reclaim").write_text(str(size))

    def close(self) -> None:
        """Let go what is in it, and remove it."""
        self.freeze(frozen=False)
        for pid in (self._path / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (_ROOT / "cgroup.procs").write_text(pid)
        self._path.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def new_cgroup(*controllers: str) -> Iterator[Cgroup]:
    """Give a new group; skip the test where there can be none."""
    path = _ROOT / f"tidemark-test-{os.getpid()}"
    if not (_ROOT / "cgroup.controllers").exists():
        pytest.skip("there are no control groups of version 2")
    try:
        for controller in controllers:
            (_ROOT / "cgroup.subtree_control").write_text(f"+{controller}")
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no control group (cgroup v2) can be made: {error}")
    with Cgroup(path) as group:
        yield group


def require_swap() -> None:
    """Skip the test where nothing can be swapped out."""
    if len(Path("/proc/swaps").read_text().splitlines()) < 2:
        pytest.skip("there is no swap")


def swapped_out() -> int:
    """Return how many pages the kernel has swapped out so far."""
    lines = Path("/proc/vmstat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("pswpout "))
