"""The C tests on a processor of another architecture: cross-compiled, and all in the initramfs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from guest import APPEND, BARE, run_to_end
from initramfs import program_initramfs
from junit import FAILED, PASSED, SKIPPED, Case
from packages import CACHE, ROOT, Apt, fetch

if TYPE_CHECKING:
    from pathlib import Path

    from packages import Kernel

COMPILER = "aarch64-linux-gnu-gcc"
EMULATOR = "qemu-system-aarch64"
LIMIT = 900
_MACHINE = ("-machine", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024M")
_TEST = re.compile(r"guest: begin (\S+)\r?\n(.*?)guest: end (\d+)", re.DOTALL)


def lacking_foreign() -> str | None:
    """Return why there is no guest of another architecture; None where there is."""
    missing = [name for name in (COMPILER, EMULATOR) if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def run_foreign(kernel: Kernel, exchange: Path) -> tuple[str, float, list[Case]]:
    """Build the C tests and run them; return the kernel's release, seconds, and what came of it."""
    exchange.mkdir(parents=True, exist_ok=True)
    unpacked = fetch(kernel)
    busybox = unpacked.directory / "root" / "bin" / "busybox"
    if not busybox.exists():
        Apt(kernel.architecture).unpack(["busybox-static"], unpacked.directory)
    initramfs = unpacked.directory / "initramfs.gz"
    initramfs.write_bytes(program_initramfs(busybox, cross_build()))
    command = [EMULATOR, *_MACHINE, *BARE, "-kernel", str(unpacked.image)]
    command += ["-initrd", str(initramfs), "-append", f"console=ttyAMA0 {APPEND}"]
    begun = time.monotonic()
    why = run_to_end(command, exchange / "console.log", LIMIT)
    console = (exchange / "console.log").read_text(errors="replace")
    probed = {"kernel": unpacked.release, "architecture": "aarch64"}
    told = json.dumps(probed | {"features": features_in(console)})
    (exchange / "probe.json").write_text(told)
    return unpacked.release, time.monotonic() - begun, cases_in(console, why)


def cross_build() -> list[Path]:
    """Return the C tests, built for arm64 and linked statically."""
    build = CACHE / "arm64-build"
    build.mkdir(parents=True, exist_ok=True)
    header = build / "include" / "xxhash.h"
    header.parent.mkdir(exist_ok=True)
    shutil.copy("/usr/include/xxhash.h", header)  # it is the same on all architectures
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    configure = [
        "cmake",
        "-S",
        str(ROOT),
        "-B",
        str(build),
        "-G",
        "Ninja",
        "-DCMAKE_SYSTEM_NAME=Linux",
    ]
    configure += ["-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_C_COMPILER={COMPILER}"]
    configure += [f"-DXXHASH_INCLUDE={header.parent}", "-DCMAKE_EXE_LINKER_FLAGS=-static"]
    for command in (configure, ["cmake", "--build", str(build), "--", "--quiet"]):
        subprocess.run(
            command, env=os.environ | {"PATH": path}, stdout=subprocess.DEVNULL, check=True
        )
    tests = (build / "native" / "tests").glob("test_*")
    return sorted(path for path in tests if path.is_file() and os.access(path, os.X_OK))


def features_in(console: str) -> dict[str, dict[str, object]]:
    """Return what the C test of the probe has printed, as `tidemark probe --json` has it."""
    printed = next((out for name, out, _ in _TEST.findall(console) if name == "test_probe"), "")
    answers = (line.strip().partition(": ") for line in printed.splitlines() if ": " in line)
    return {
        name: {"works": answer == "yes", "reason": None if answer == "yes" else answer}
        for name, _, answer in answers
    }


def cases_in(console: str, why: str) -> list[Case]:
    """Return the tests that a console shows; one that did not end has failed."""
    found = []
    for name, output, code in _TEST.findall(console):
        said = output.strip()
        outcome = PASSED if code == "0" else FAILED
        if outcome == PASSED and said.startswith("skipped: "):
            found.append(Case(name, SKIPPED, 0, said.removeprefix("skipped: ").splitlines()[0]))
        else:
            found.append(Case(name, outcome, 0, "" if outcome == PASSED else said))
    if console.count("guest: begin") != len(found) or not found:
        found.append(Case("all", FAILED, 0, f"no end: {why}\n{console[-4000:]}"))
    return found
