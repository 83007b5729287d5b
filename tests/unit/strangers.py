"""What another user can do: in a child that is one."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STRANGER = 65534


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """Give a directory that other users can pass through, as pytest's own they cannot."""
    if os.geteuid() != 0:
        pytest.skip("being another user needs root")
    with TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


def as_stranger(deed: Callable[[], str]) -> str:
    """Do something as another user, of a group of that number; return what it returns or raises."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([STRANGER])
            os.setresgid(STRANGER, STRANGER, STRANGER)
            os.setresuid(STRANGER, STRANGER, STRANGER)
            answer = deed()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(into, answer.encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out) as answers:
        said = answers.read()
    os.waitpid(pid, 0)
    return said
