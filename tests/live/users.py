"""What another user may execute."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest
from stage import AS_NOBODY

if TYPE_CHECKING:
    from pathlib import Path


def python_for_all(directory: Path) -> str:
    """Return an interpreter with Tidemark that any user may execute.

    Where this one is in some user's own directory, it is a virtual environment around the
    system's, with the packages of this one: the version has to be the same.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    interpreters = [sys.executable, f"/usr/bin/{version}"]
    for interpreter in interpreters:
        # setpriv may execute what the user may not: so ask from within.
        access = f"import os, sys; sys.exit(not os.access({interpreter!r}, os.X_OK))"
        tried = subprocess.run(
            [*AS_NOBODY, interpreter, "-c", access], check=False, capture_output=True
        )
        if tried.returncode == 0:
            break
    else:
        pytest.skip(f"another user may execute none of {', '.join(interpreters)}")
    if interpreter == sys.executable:
        return interpreter
    packages = directory / "venv" / "lib" / version / "site-packages"
    packages.parent.mkdir(parents=True)
    packages.symlink_to(sysconfig.get_path("purelib"))
    (directory / "venv" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    python = directory / "venv" / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(interpreter)
    return str(python)
