"""Debian's kernel packages, fetched and unpacked under ``build/kernels``; never installed.

Which one a metapackage stands for changes with every update of the archive, so it is asked
each time; what is there already is kept.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "kernels"
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
_PARTS = re.compile(r"linux-(image|modules|binary|base)-\d")


@dataclass(frozen=True)
class Kernel:
    """A kernel to test on: its short name, and the metapackage (or package) that brings it."""

    name: str
    metapackage: str
    architecture: str = ""
    """As Debian calls it; empty for the host's."""
    suite: str = ""
    """Of Debian's archive; empty for those that the host takes its packages from."""


@dataclass(frozen=True)
class Unpacked:
    """A kernel that was unpacked to a directory."""

    directory: Path
    package: str

    @cached_property
    def modules(self) -> Path:
        """The directory of its modules."""
        places = (self.directory / "root").glob("**/lib/modules/*")
        (found,) = {place.resolve() for place in places}  # lib may be a link to usr/lib
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


def fetch(kernel: Kernel) -> Unpacked:
    """Return a kernel, after having fetched it unless it is there.

    :raises LookupError: when the package lists do not have it, and it is not there either
    """
    directory = CACHE / kernel.name
    stamp = directory / "package"
    apt = Apt(kernel.architecture, kernel.suite)
    package = apt.package_of(kernel.metapackage)
    there = stamp.read_text() if stamp.exists() else None
    if package is None and there is None:
        raise LookupError(f"the package lists know no {kernel.metapackage}")
    if package is not None and package != there:
        _unpack(apt, package, directory)
        stamp.write_text(package)
    return Unpacked(directory, stamp.read_text())


class Apt:
    """The package lists of an architecture and a suite; lists of our own but for the host's."""

    def __init__(self, architecture: str = "", suite: str = "") -> None:
        # As root, apt would become a user who may not write here.
        self._options = ["-o", "APT::Sandbox::User=root"]
        self._own = bool(architecture or suite)
        if not self._own:
            return
        place = CACHE / "lists" / "-".join(filter(None, (architecture, suite)))
        for part in ("partial", "cache/archives/partial", "sources"):
            (place / part).mkdir(parents=True, exist_ok=True)
        self._set("Dir::State::lists", place)
        self._set("Dir::State::status", "/dev/null")
        self._set("Dir::Cache", place / "cache")
        if architecture:
            self._set("APT::Architecture", architecture)
            self._set("APT::Architectures", architecture)
        if suite:
            (place / "sources" / "suite.sources").write_text(_source(suite))
            self._set("Dir::Etc::SourceList", "/dev/null")
            self._set("Dir::Etc::SourceParts", place / "sources")

    def _set(self, option: str, value: object) -> None:
        self._options += ["-o", f"{option}={value}"]

    def package_of(self, metapackage: str) -> str | None:
        """Return the package that a metapackage stands for at present; a package is its own."""
        if not self._knows(metapackage):
            self._update()
        if _PARTS.match(metapackage):
            return metapackage if self._knows(metapackage) else None
        return next(iter(self.depends(metapackage)), None)

    def _knows(self, package: str) -> bool:
        command = ["apt-cache", *self._options, "show", "--no-all-versions", package]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def depends(self, package: str) -> list[str]:
        """Return the kernel's own packages that a package depends on."""
        done = subprocess.run(
            ["apt-cache", *self._options, "depends", "--important", package],
            capture_output=True,
            text=True,
            check=False,
        )
        words = (line.partition("Depends: ")[2].strip() for line in done.stdout.splitlines())
        return [word for word in words if _PARTS.match(word)]

    def _update(self) -> bool:
        """Fetch the package lists, which a fresh machine lacks."""
        if os.geteuid() != 0 and not self._own:
            return False
        command = ["apt-get", *self._options, "update", "-qq"]
        return subprocess.run(command, check=False).returncode == 0

    def unpack(self, packages: Iterable[str], directory: Path) -> None:
        """Fetch packages and unpack them to ``root`` in a directory."""
        directory.mkdir(parents=True, exist_ok=True)
        command = ["apt-get", *self._options, "-qq", "download", *packages]
        subprocess.run(command, cwd=directory, check=True)
        for archive in directory.glob("*.deb"):
            subprocess.run(["dpkg", "-x", archive, directory / "root"], check=True)
            archive.unlink()


def _source(suite: str) -> str:
    """Return a source of packages: a suite of the archive that the host's own release is from.

    :raises LookupError: when the host takes no packages from Debian's archive
    """
    form = "$(CODENAME) $(REPO_URI)"
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages", "Component: main"],
        capture_output=True,
        text=True,
        check=False,
    )
    own = platform.freedesktop_os_release().get("VERSION_CODENAME")
    for line in done.stdout.splitlines():
        codename, archive = line.split(maxsplit=1)
        if codename == own:
            source = f"Types: deb\nURIs: {archive}\nSuites: {suite}\nComponents: main\n"
            return f"{source}Signed-By: {_KEYS}\n"
    raise LookupError(f"the machine has no source of packages for {own}, and so none of {suite}")


def _unpack(apt: Apt, package: str, directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    # From 6.19 on the image's package holds nothing itself.
    apt.unpack([package, *apt.depends(package)], directory)
    modules = Unpacked(directory, package).modules
    top = modules.parents[2]
    if top != directory / "root":  # depmod looks in lib, where some packages have usr/lib
        (directory / "root" / "lib").symlink_to("usr/lib")
    subprocess.run(["depmod", "-b", directory / "root", modules.name], check=True)
