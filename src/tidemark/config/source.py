"""Reading a config file strictly: what YAML lets pass in silence is a mistake here."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tidemark.bounded import DecodingError, read_regular
from tidemark.config.limits import MOST_BYTES, Loader, verify_size
from tidemark.config.mistakes import Key, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator

REPHRASED = {
    "found character '\\t' that cannot start any token": "is indented with a tab; use spaces",
    "mapping values are not allowed here": "has a `:` where none belongs; "
    "check the indentation, and put text that holds `: ` in quotes",
    "could not find expected ':'": "lacks a `:` after a key",
    "expected a single document in the stream": "begins a second document; keep one",
}
"""The commonest of PyYAML's complaints, with their remedies."""

INTO_ITSELF = "an alias puts this value into itself"


@dataclass(frozen=True)
class Source:
    """A config file: its name for messages, what it says, and what is wrong with it as YAML."""

    label: str
    data: dict[Any, Any] | None
    """None: the file is of no use, and ``mistakes`` says why."""
    mistakes: tuple[Mistake, ...] = ()


def read(path: Path) -> Source:
    """Return what a config file says; its mistakes are kept, not raised."""
    label = _label(path)
    try:
        if path.is_dir():
            return _useless(label, "is a directory; name a file in it")
        text = read_regular(path, MOST_BYTES, text=False).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, DecodingError) as error:
        return _useless(label, _unreadable(error))
    # JSON is YAML, but for the tabs that may indent it.
    return parsed(label, text.replace("\t", " ") if path.suffix == ".json" else text)


def _label(path: Path) -> str:
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else path)


def _useless(label: str, text: str) -> Source:
    return Source(label, None, (Mistake((), text, label),))


def _unreadable(error: OSError | UnicodeDecodeError | DecodingError) -> str:
    match error:
        case DecodingError():
            return f"{error}; name a config file"
        case FileNotFoundError():
            return "does not exist; name a config file, such as config/config.yaml"
        case PermissionError():
            return "cannot be read by this user; give read permission with chmod"
        case UnicodeDecodeError():
            return f"is not UTF-8 text: byte {error.start + 1} is wrong; save it as UTF-8"
        case _:
            return f"cannot be read: {error.strerror}"


def parsed(label: str, text: str) -> Source:
    """Return what ``text`` says as YAML; its mistakes are kept, not raised."""
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        twice = tuple(replace(each, source=label) for each in _duplicates(node))
        if node:
            verify_size(node)
        data = loader.construct_document(node) if node else None
    except yaml.YAMLError as error:
        return _useless(label, _syntax(error, text))
    if data is None:
        return _useless(label, "is empty, must declare at least one workload under `workloads`")
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else "a single value"
        return _useless(label, f"is {kind}, must be a mapping with `workloads`")
    return Source(label, data, twice)


def _syntax(error: yaml.YAMLError, text: str) -> str:
    match error:
        case yaml.reader.ReaderError():
            line = text.count("\n", 0, error.position) + 1
            return f"line {line} holds a character that YAML does not allow; remove it"
        case yaml.MarkedYAMLError() if error.problem_mark:
            problem = error.context if error.context in REPHRASED else error.problem
            told = REPHRASED.get(str(problem), f"is not valid YAML: {problem}")
            return f"line {error.problem_mark.line + 1} {told}"
        case _:
            return f"is not valid YAML: {error}"


def _duplicates(
    node: Any, path: Key = (), within: tuple[int, ...] = (), seen: set[int] | None = None
) -> Iterator[Mistake]:
    """Yield the keys that are given more than once in one mapping.

    :raises yaml.MarkedYAMLError: for a value that an alias puts into itself
    """
    seen = set() if seen is None else seen
    if id(node) in within:
        raise yaml.MarkedYAMLError(problem=INTO_ITSELF, problem_mark=node.start_mark)
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        yield from _repeated(node, path)
    for part, child in _children(node):
        yield from _duplicates(child, (*path, part), (*within, id(node)), seen)


def _children(node: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(node, yaml.SequenceNode):
        yield from enumerate(node.value)
    else:
        yield from ((str(key.value), child) for key, child in node.value)


def _repeated(node: Any, path: Key) -> Iterator[Mistake]:
    lines = defaultdict(list)
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            lines[key.tag, key.value].append(str(key.start_mark.line + 1))
    for (_, name), places in lines.items():
        if len(places) > 1:
            *first, last = places
            where = f"on lines {', '.join(first)} and {last}"
            yield Mistake((*path, name), f"is given {len(places)} times, {where}; keep one")
