"""Running commands on another kernel, in an emulated machine that shares the host's files.

The guest sees the host's root read-only, with a layer in memory over it, so what it writes is
gone with it; only ``/run/exchange`` is a directory of the host.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from initramfs import sharing_initramfs
from packages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packages import Unpacked

EMULATOR = "qemu-system-x86_64"
MEMORY = "2048M"
_SERVERS = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
_SECOND = Path(__file__).with_name("second.sh")
# qemu's default model lacks instructions that some wheels were built with.
_MACHINE = ("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2")
BARE = ("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio")
APPEND = "quiet loglevel=4 panic=-1 mitigations=off"


@dataclass(frozen=True)
class Ended:
    """How a guest ended: ``code`` is that of the commands, None where they did not get to it."""

    code: int | None
    seconds: float
    why: str
    console: str


def lacking() -> str | None:
    """Return why no guest can be run on this machine; None where one can."""
    if os.geteuid() != 0:
        return "only root can share the host's files with a guest"
    programs = [EMULATOR, "busybox", "depmod", "apt-get", "dpkg"]
    missing = [program for program in programs if shutil.which(program) is None]
    if not any(Path(server).exists() for server in _SERVERS):
        missing.append("virtiofsd")
    return f"not installed: {', '.join(missing)}" if missing else None


def run_guest(kernel: Unpacked, commands: str, exchange: Path, limit: float) -> Ended:
    """Run shell commands in a guest; end it after ``limit`` seconds.

    Their output is in ``exchange/output.txt`` then, the guest's own in ``exchange/console.log``.
    """
    shutil.rmtree(exchange, ignore_errors=True)
    exchange.mkdir(parents=True)
    (exchange / "commands.sh").write_text(commands)
    (exchange / "modules").write_text(f"{kernel.modules}\n")
    hidden = str(ROOT).startswith(("/tmp/", "/run/"))  # noqa: S108 - not a file of ours
    (exchange / "show").write_text(f"{ROOT}\n" if hidden else "")
    shutil.copy(_SECOND, exchange / "second.sh")
    begun = time.monotonic()
    with _served("host", Path("/"), exchange) as host, _served("exchange", exchange) as shared:
        why = _emulate(kernel, (*host, *shared), exchange / "console.log", limit)
    code = exchange / "code"
    return Ended(
        code=int(code.read_text()) if code.exists() else None,
        seconds=time.monotonic() - begun,
        why=why,
        console=(exchange / "console.log").read_text(errors="replace"),
    )


def _emulate(kernel: Unpacked, devices: tuple[str, ...], console: Path, limit: float) -> str:
    """Run the machine to its end; return, in words, what ended it."""
    initramfs = kernel.directory / "initramfs.gz"
    initramfs.write_bytes(sharing_initramfs(kernel.modules))
    command = [EMULATOR, *_MACHINE, *BARE, "-m", MEMORY]
    command += ["-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on"]
    command += ["-numa", "node,memdev=memory", *devices]
    command += ["-kernel", str(kernel.image), "-initrd", str(initramfs)]
    command += ["-append", f"console=ttyS0 no_timer_check {APPEND}"]
    return run_to_end(command, console, limit)


def run_to_end(command: list[str], console: Path, limit: float) -> str:
    """Run an emulator until it ends by itself or the time is over; return, in words, which."""
    with console.open("wb") as log:
        machine = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            return f"the emulator ended with code {machine.wait(limit)}"
        except subprocess.TimeoutExpired:
            return f"it was ended after {limit:.0f} s"
        finally:
            machine.kill()
            machine.wait()


@contextlib.contextmanager
def _served(tag: str, source: Path, beside: Path | None = None) -> Iterator[tuple[str, ...]]:
    """Serve a directory to a guest; give the emulator's options for it."""
    directory = beside or source
    socket = directory.with_name(f"{directory.name}.{tag}.socket")
    program = next(path for path in _SERVERS if Path(path).exists())
    # The host's files stay as they are while a guest runs; the exchange directory's do not.
    cache = "auto" if beside is None else "always"
    options = f"source={source},sandbox=chroot,cache={cache}"
    with directory.with_name(f"{directory.name}.{tag}.log").open("wb") as log:
        server = subprocess.Popen(
            [program, f"--socket-path={socket}", "-o", options], stdout=log, stderr=log
        )
    try:
        _wait_for(socket, server)
        yield (
            *("-chardev", f"socket,id={tag},path={socket}"),
            *("-device", f"vhost-user-fs-pci,chardev={tag},tag={tag}"),
        )
    finally:
        server.terminate()
        server.wait()
        socket.unlink(missing_ok=True)


def _wait_for(socket: Path, server: subprocess.Popen[bytes]) -> None:
    while not socket.exists():
        if server.poll() is not None:
            raise RuntimeError(f"virtiofsd ended with code {server.returncode}")
        time.sleep(0.02)
