"""Making the initramfs of a guest: busybox, the modules to reach the host's files, an init.

The format is cpio's "newc", of the kernel's Documentation/driver-api/early-userspace.
"""

from __future__ import annotations

import gzip
import lzma
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BUSYBOX = Path("/bin/busybox")
VIRTIOFS = ("virtio_pci", "virtio_console", "virtiofs", "overlay")
_INIT = Path(__file__).with_name("init.sh")
_PROGRAMS_INIT = Path(__file__).with_name("programs.sh")


class Archive:
    """A cpio archive that grows."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._inode = 0

    def directory(self, name: str) -> None:
        """Add a directory."""
        self._add(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._add(name, stat.S_IFREG | mode, content)

    def console(self) -> None:
        """Add the device that the first process writes to."""
        self._add("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1))

    def packed(self) -> bytes:
        """Return the archive, complete and compressed."""
        self._add("TRAILER!!!", 0, b"")
        return gzip.compress(bytes(self._bytes), 1)

    def _add(self, name: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        path = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
        self._bytes += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        self._bytes += bytes(-len(self._bytes) % 4) + content
        self._bytes += bytes(-len(self._bytes) % 4)


class Modules:
    """The modules of a kernel, with what each depends on."""

    def __init__(self, directory: Path) -> None:
        self._files = {_name(path): path for path in directory.rglob("*.ko*")}
        builtin = (directory / "modules.builtin").read_text().split()
        self._builtin = {_name(Path(line)) for line in builtin}

    def needed(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return the named modules after those that they depend on, by name.

        :raises KeyError: for one that this kernel does not have
        """
        found: dict[str, bytes] = {}
        for name in names:
            self._add(name.replace("-", "_"), found)
        return found

    def _add(self, name: str, found: dict[str, bytes]) -> None:
        if name in found or name in self._builtin:
            return
        content = _unpacked(self._files[name])
        for dependency in _dependencies(content):
            self._add(dependency, found)
        found[name] = content


def _name(path: Path) -> str:
    return path.name.partition(".ko")[0].replace("-", "_")


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content


def _dependencies(module: bytes) -> Iterator[str]:
    found = re.search(rb"(?:^|\0)depends=([^\0]*)\0", module)
    names = found[1].decode().split(",") if found else []
    return (name.replace("-", "_") for name in names if name)


def _begun(busybox: Path, init: Path) -> Archive:
    archive = Archive()
    for name in ("bin", "dev", "proc", "sys", "tmp", "modules", "programs"):
        archive.directory(name)
    archive.console()
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    archive.file("init", init.read_bytes(), 0o755)
    return archive


def sharing_initramfs(modules: Path) -> bytes:
    """Return the initramfs that mounts the host's files, for a kernel with these modules."""
    needed = Modules(modules).needed(VIRTIOFS)
    archive = _begun(BUSYBOX, _INIT)
    for name, content in needed.items():
        archive.file(f"modules/{name}.ko", content)
    archive.file("modules/order", "".join(f"{name}.ko\n" for name in needed).encode())
    return archive.packed()


def program_initramfs(busybox: Path, programs: Iterable[Path]) -> bytes:
    """Return the initramfs that runs programs which need no files, one after the other."""
    archive = _begun(busybox, _PROGRAMS_INIT)
    for program in programs:
        archive.file(f"programs/{program.name}", program.read_bytes(), 0o755)
    return archive.packed()
