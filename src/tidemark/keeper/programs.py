"""Programs that do not work as ever while they are kept: said in one sentence when one is met.

Only one process can trace another (ptrace(2)), and an ordinary user's tracer takes the rights away
that a program would get from its file: execve(2), "Set-user-ID and set-group-ID".
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from pathlib import Path

from tidemark import proc

log = logging.getLogger(__name__)

_TRACERS = {"gdb", "gdbserver", "lldb", "lldb-server", "strace", "ltrace", "rr", "uftrace"}
_SANITIZERS = ("/liblsan.so", "/libasan.so")
_IDS = stat.S_ISUID | stat.S_ISGID


def what_suffers(pid: int) -> str | None:
    """Return in a sentence what a process that has just been met cannot do; None for nothing."""
    command = proc.command_of(pid)
    if command in _TRACERS:
        return (
            f"process {pid} ({command}) traces others, which it cannot while they are kept: a "
            "process has one tracer; keep its children by themselves, or not under it"
        )
    if _has_sanitizer(pid):
        return (
            f"process {pid} ({command}) looks for leaks at its end by tracing itself, which it "
            "cannot while it is kept; set ASAN_OPTIONS=detect_leaks=0, or release it before"
        )
    if os.geteuid() != 0 and _gives_rights(pid):
        return (
            f"process {pid} ({command}) runs a program whose file gives it rights, which Linux "
            "withholds while an ordinary user keeps it; have root keep it, or start it elsewhere"
        )
    return None


def warn_of(pid: int) -> None:
    """Log what a process cannot do while it is kept, if there is anything."""
    if sentence := what_suffers(pid):
        log.warning("%s", sentence)


def _has_sanitizer(pid: int) -> bool:
    with contextlib.suppress(OSError):
        maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
        return any(name in maps for name in _SANITIZERS)
    return False


def _gives_rights(pid: int) -> bool:
    """Return whether the file of a process's program gives rights: it, or its capabilities."""
    program = f"/proc/{pid}/exe"
    with contextlib.suppress(OSError):
        if os.stat(program).st_mode & _IDS:  # noqa: PTH116 - a link of /proc
            return True
        return bool(os.getxattr(program, "security.capability"))
    return False
