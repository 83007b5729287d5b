"""From config files to a checked config, or to the list of all that is wrong in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from tidemark.config import programs
from tidemark.config.limits import MOST_MISTAKES, Loader
from tidemark.config.mistakes import Key, Mistake, dotted
from tidemark.config.models import Config
from tidemark.config.source import Source, read
from tidemark.config.wording import mistakes
from tidemark.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

ABSENT = object()
COMMAND_LINE = "--config"
_MOST_OF_SCALAR = 100


def load(path: Path) -> Config:
    """Return the config in one file.

    :raises ConfigError: with all the mistakes in it
    """
    source = read(path)
    return _checked(source.data or {}, [source])


def resolve(raw: Mapping[str, Any], sources: Sequence[Path]) -> Config:
    """Return the config that Snakemake has merged into ``raw``.

    ``sources`` are the files that it came from, the last one winning; what none of them says is
    from Snakemake's ``--config``.

    :raises ConfigError: with all the mistakes in it
    """
    return _checked(raw, [read(path) for path in sources])


def _checked(raw: Mapping[str, Any], sources: Sequence[Source]) -> Config:
    found = [mistake for source in sources for mistake in source.mistakes]
    if any(source.data is None for source in sources):
        raise ConfigError(_message(found))
    raw = _typed(raw, sources)
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        found += mistakes(error)
    found += programs.missing(raw)
    if found:
        order = _Order(raw)
        found.sort(key=lambda mistake: order.position(mistake.path))
        told = [_blamed(mistake, raw, sources) for mistake in found[:MOST_MISTAKES]]
        raise ConfigError(_message(told, more=len(found) - len(told)))
    return config


def _typed(raw: Mapping[str, Any], sources: Sequence[Source]) -> Mapping[str, Any]:
    """Return ``raw`` with the numbers of ``--config`` as numbers.

    Snakemake leaves what is nested in a value of ``--config`` as text. Only what is wrong as text
    is read again: a word such as 010 has to stay as it is.
    """
    try:
        Config.model_validate(raw)
    except ValidationError as error:
        texts = [(each["loc"], each["input"]) for each in error.errors()]
    else:
        return raw
    typed = deepcopy(dict(raw))
    for path, text in texts:
        if isinstance(text, str) and _origin(path, raw, sources) == COMMAND_LINE:
            _replace(typed, path, text, _scalar(text))
    return typed


def _scalar(text: str) -> object:
    try:
        value = Loader(text).get_single_data() if len(text) < _MOST_OF_SCALAR else text
    except (yaml.YAMLError, ValueError):
        return text
    # Snakemake's own help wants nested values written as Python writes them.
    return value if isinstance(value, int | float) else None if _is_null(text, value) else text


def _is_null(text: str, value: object) -> bool:
    return text == "None" or (value is None and bool(text.strip()))


def _replace(tree: Any, path: Key, old: str, new: object) -> None:
    holder = _lookup(tree, path[:-1])
    if _lookup(tree, path) == old:
        holder[path[-1]] = new


def _lookup(tree: Any, path: Key) -> Any:
    for part in path:
        if isinstance(tree, Mapping):
            tree = tree.get(part, ABSENT)
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        else:
            return ABSENT
    return tree


def _origin(path: Key, raw: Mapping[str, Any], sources: Sequence[Source]) -> str:
    """Return the name of the last source that gives ``path`` the value that it has in ``raw``."""
    while (value := _lookup(raw, path)) is ABSENT:
        path = path[:-1]
    for source in reversed(sources):
        own = _lookup(source.data, path)
        # Mappings are merged; any other value is the last source's. By repr: 1 is not true.
        if own is not ABSENT and (isinstance(own, Mapping) or repr(own) == repr(value)):
            return source.label
    return COMMAND_LINE


def _blamed(mistake: Mistake, raw: Mapping[str, Any], sources: Sequence[Source]) -> Mistake:
    return replace(mistake, source=mistake.source or _origin(mistake.path, raw, sources))


class _Order:
    """Where keys stand in the config, for a list in the order of the file."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self._places: dict[int, dict[Any, int]] = {}  # of the keys of each mapping, by its identity

    def position(self, path: Key) -> tuple[int, ...]:
        """Return the place of each part of ``path`` in the mapping that holds it."""
        holders = (_lookup(self._raw, path[:depth]) for depth in range(len(path)))
        return tuple(self._place(holder, part) for holder, part in zip(holders, path, strict=True))

    def _place(self, holder: Any, part: object) -> int:
        if not isinstance(holder, Mapping):
            return 0
        if id(holder) not in self._places:
            self._places[id(holder)] = {key: place for place, key in enumerate(holder)}
        return self._places[id(holder)].get(part, len(holder))


def _message(found: Sequence[Mistake], more: int = 0) -> str:
    lines = [": ".join(filter(None, (each.source, dotted(each.path), each.text))) for each in found]
    if len(lines) == 1:
        return lines[0]
    rest = [f"and {more} more"] if more else []
    return "\n  ".join([f"the config has {len(lines) + more} mistakes:", *lines, *rest])
