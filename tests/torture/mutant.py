"""A copy of the tree that is broken in one way, and an interpreter that runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from mutations import ROOT, NativeTest

if TYPE_CHECKING:
    from mutations import Mutation

_LEFT_OUT = (".git", ".venv", "build", "results", ".snakemake", "__pycache__", ".*_cache")


def mutant(mutation: Mutation, directory: Path) -> Path:
    """Make a copy of the tree with a mutation, in ``directory``; return its interpreter."""
    shutil.copytree(
        ROOT,
        directory,
        symlinks=True,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns(*_LEFT_OUT),
    )
    changed = directory / mutation.path
    text = changed.read_text()
    assert text.count(mutation.old) == 1, f"{mutation.path} has changed: see mutations.py"
    changed.write_text(text.replace(mutation.old, mutation.new))
    if not mutation.native:
        _copy_library(directory)
    elif isinstance(mutation.found_by, NativeTest):
        build(directory, "-DCMAKE_BUILD_TYPE=RelWithDebInfo")
    else:
        build(directory, "-DSKBUILD=ON", f"-DCMAKE_INSTALL_PREFIX={directory / 'src'}")
    return _interpreter(directory)


def _copy_library(directory: Path) -> None:
    """Copy what is built of the native library: none of it has changed."""
    import tidemark._native

    for built in Path(tidemark._native.__file__).parent.iterdir():
        if built.is_file():
            shutil.copy(built, directory / "src" / "tidemark")


def build(directory: Path, *options: str) -> None:
    """Build a copy's native library; into its package where it has a place to be installed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # ours, before an older one
    place = f"{directory / 'build'}"
    configure = ["cmake", "-S", f"{directory}", "-B", place, "-G", "Ninja", *options]
    commands = [[*configure, f"-DPython_EXECUTABLE={sys.executable}"], ["cmake", "--build", place]]
    if "-DSKBUILD=ON" in options:
        commands.append(["cmake", "--install", place])
    for command in commands:
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PATH": path}
        )


def _interpreter(directory: Path) -> Path:
    """Make a virtual environment with the copy of the package and the packages of this one."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(sys.base_prefix) / "bin"
    environment = directory / "venv"
    packages = environment / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    # What a path file adds is not searched for path files: ours, of the real package, has no part.
    paths = [directory / "src", sysconfig.get_path("purelib")]
    (packages / "mutant.pth").write_text("".join(f"{path}\n" for path in paths))
    (environment / "pyvenv.cfg").write_text(f"home = {base}\n")
    python = environment / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(Path(sys.executable).resolve())
    return python
