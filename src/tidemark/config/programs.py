"""Whether the programs that a config names are there, and may be run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemark.config.mistakes import Key, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS: tuple[tuple[str, ...], ...] = (("run",), ("advance", "command"), ("check",))


def missing(raw: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield the commands of a config, valid or not, that could not be started."""
    for name, workload in _mapping(raw.get("workloads")).items():
        path = _mapping(_mapping(workload).get("env")).get("PATH")
        for keys in COMMANDS:
            argv = _at(workload, keys)
            text = _fault(argv, str(path) if path else None)
            if text:
                yield Mistake(("workloads", str(name), *keys), text)


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _at(value: Any, keys: Key) -> Any:
    for key in keys:
        value = _mapping(value).get(key)
    return value


def _fault(argv: object, path: str | None) -> str | None:
    program = argv[0] if isinstance(argv, list | tuple) and argv else argv
    if not isinstance(program, str) or not program or "\0" in program:
        return None  # the models say what is wrong with it
    text = _file_fault(program) if "/" in program else _name_fault(program, path)
    if text and program is argv and len(program.split()) > 1:
        words = ", ".join(program.split())
        return f"`{program}` is not a program; give its arguments in a list: [{words}]"
    return text


def _file_fault(program: str) -> str | None:
    file = Path(program)
    if file.is_dir():
        return f"`{program}` is a directory, not a program"
    if not file.exists():
        within = "" if file.is_absolute() else f" in {Path.cwd()}"
        return f"`{program}` is not found{within}; correct the path"
    if not os.access(file, os.X_OK):
        return f"`{program}` is not executable; run `chmod +x {program}`"
    return None


def _name_fault(program: str, path: str | None) -> str | None:
    if shutil.which(program, path=path):
        return None
    if found := shutil.which(program, mode=os.F_OK, path=path):
        return f"`{found}` is not executable; run `chmod +x {found}`"
    if Path(program).is_file():
        return f"`{program}` is not found on PATH; for the file here write `./{program}`"
    return f"`{program}` is not found on PATH; install it, or correct the name"
