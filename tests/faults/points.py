"""The system calls of a command at which one can fail, as strace(1) shows them."""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tidemark

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ERRORS = ("EIO", "ENOSPC")

_LINE = re.compile(r"(?:(\d+) +)?(\w+)\(")
_PLACES = (sys.prefix, sys.base_prefix, str(Path(tidemark.__file__).parents[1]), "/share/locale/")
_OF_PYTHON = re.compile(rf"\.(?:pyc?|so(?:\.\d+)*)\b|{'|'.join(map(re.escape, _PLACES))}")
_BEGUN = re.compile(r"tidemark/cli/[a-z]+\.")
"""Before Python opens the module of a verb, what fails is Python itself."""

_NEVER_FAIL = {
    *("exit", "exit_group", "rt_sigreturn", "arch_prctl", "set_tid_address", "set_robust_list"),
    *("rseq", "getpid", "gettid", "getuid", "geteuid", "getgid", "getegid", "execve", "brk"),
    # The threads of glibc end the process themselves when one of these fails so.
    *("futex", "rt_sigprocmask", "rt_sigaction", "munmap", "mprotect", "madvise"),
}
_OF_EACH_IMPORT = 40
_OF_EACH_KIND = 2
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+")


@dataclass(frozen=True)
class Point:
    """The ``number``-th call of its kind, from 1 on, fails with ``error``."""

    call: str
    number: int
    error: str

    @property
    def injection(self) -> str:
        """What strace takes for it."""
        return f"inject={self.call}:error={self.error}:when={self.number}"

    def __str__(self) -> str:
        return f"{self.call} {self.number} {self.error}"


def points_of(trace: Iterable[str], *, begun: bool = False) -> list[Point]:
    """Return the points of a trace, in order, each with each error.

    What Python reads of its own programs is told by ``-y``; one in 40 of these calls is taken. Of
    calls that differ in nothing but numbers, as for each descriptor of each process of the machine,
    the first two are.

    :param begun: all of it counts, not only what follows the begin of our own program
    """
    counts: Counter[tuple[str, str]] = Counter()  # by process, as strace counts them
    alike: Counter[str] = Counter()
    found: list[tuple[str, int]] = []
    imports = 0
    for line in trace:
        match = _LINE.match(line)
        if not match:
            continue
        process, call = match[1] or "", match[2]
        counts[process, call] += 1
        begun = begun or bool(_BEGUN.search(line))
        if not begun or call in _NEVER_FAIL:
            continue
        imported = bool(_OF_PYTHON.search(line))
        imports += imported
        kind = _NUMBER.sub("#", line[match.start(2) :])
        alike[kind] += 1
        if (imports % _OF_EACH_IMPORT == 1) if imported else alike[kind] <= _OF_EACH_KIND:
            found.append((call, counts[process, call]))
    return [Point(call, number, error) for call, number in dict.fromkeys(found) for error in ERRORS]


def sample(points: Sequence[Point], count: int, turn: int = 0) -> list[Point]:
    """Return about ``count`` points, evenly spread; another ``turn`` takes others."""
    step = max(1, len(points) // count)
    return list(points[turn % step :: step])[:count]
