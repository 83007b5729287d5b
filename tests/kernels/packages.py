"""Debian's kernel packages, fetched and unpacked under ``build/kernels``; never installed.

Which one a metapackage stands for changes with every update of the archive, so it is asked
each time; what is there already is kept.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from initramfs import make_initramfs

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "kernels"
_PARTS = re.compile(r"linux-(image|modules|binary|base)-\d")
_MAKER = Path(__file__).with_name("initramfs.py")
_INIT = Path(__file__).with_name("init.sh")


@dataclass(frozen=True)
class Kernel:
    """A kernel to test on: its short name, and the metapackage that brings it."""

    name: str
    metapackage: str


@dataclass(frozen=True)
class Unpacked:
    """A kernel that was unpacked to a directory."""

    directory: Path
    package: str

    @cached_property
    def modules(self) -> Path:
        """The directory of its modules."""
        (found,) = (self.directory / "root").glob("**/lib/modules/*")
        return found

    @property
    def release(self) -> str:
        """What uname(1) says of it."""
        return self.modules.name

    @property
    def image(self) -> Path:
        """What is booted."""
        root = self.directory / "root"
        (found, *_) = [*root.glob("boot/vmlinuz-*"), *self.modules.glob("vmlinuz")]
        return found

    @property
    def initramfs(self) -> Path:
        """The initramfs that it boots with."""
        return self.directory / "initramfs.gz"


def fetch(kernel: Kernel) -> Unpacked:
    """Return a kernel, after having fetched it unless it is there.

    :raises LookupError: when the package lists do not have it, and it is not there either
    """
    directory = CACHE / kernel.name
    stamp = directory / "package"
    package = _package_of(kernel.metapackage)
    there = stamp.read_text() if stamp.exists() else None
    if package is None and there is None:
        raise LookupError(f"the package lists know no {kernel.metapackage}")
    if package is not None and package != there:
        _unpack(package, directory)
        stamp.write_text(package)
    unpacked = Unpacked(directory, stamp.read_text())
    _make_initramfs(unpacked)
    return unpacked


def _package_of(metapackage: str) -> str | None:
    names = _depends(metapackage) or (_update() and _depends(metapackage))
    return names[0] if names else None


def _depends(package: str) -> list[str]:
    """Return the kernel's own packages that a package depends on."""
    done = subprocess.run(
        ["apt-cache", "depends", "--important", package],
        capture_output=True,
        text=True,
        check=False,
    )
    words = (line.partition("Depends: ")[2].strip() for line in done.stdout.splitlines())
    return [word for word in words if _PARTS.match(word)]


def _update() -> bool:
    """Fetch the package lists, which a fresh machine lacks."""
    if os.geteuid() != 0:
        return False
    return subprocess.run(["apt-get", "update", "-qq"], check=False).returncode == 0


def _unpack(package: str, directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    # From 6.19 on the image's package holds nothing itself.
    packages = [package, *_depends(package)]
    # As root, apt would become a user who may not write here.
    options = ["-qq", "-o", "APT::Sandbox::User=root"]
    subprocess.run(["apt-get", "download", *options, *packages], cwd=directory, check=True)
    for archive in directory.glob("*.deb"):
        subprocess.run(["dpkg", "-x", archive, directory / "root"], check=True)
        archive.unlink()
    modules = Unpacked(directory, package).modules
    top = modules.parents[2]
    if top != directory / "root":  # depmod looks in lib, where some packages have usr/lib
        (directory / "root" / "lib").symlink_to("usr/lib")
    subprocess.run(["depmod", "-b", directory / "root", modules.name], check=True)


def _make_initramfs(kernel: Unpacked) -> None:
    sources = max(path.stat().st_mtime for path in (_MAKER, _INIT))
    target = kernel.initramfs
    if not target.exists() or target.stat().st_mtime < sources:
        target.write_bytes(make_initramfs(kernel.modules))
