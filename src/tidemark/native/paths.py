"""Names of files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tidemark.native.library import check, lib, new_error

if TYPE_CHECKING:
    from pathlib import Path


def exchange(path: Path, other: Path) -> None:
    """Let each of two files or directories have the other's name, at once.

    :raises LackingError: when the file system cannot
    """
    error = new_error()
    check(lib.tm_exchange_paths(os.fsencode(path), os.fsencode(other), error), error)
