"""YAML that is bounded: in bytes, depth, values with aliases followed, and digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_BYTES = 4 << 20
MOST_MISTAKES = 100
"""How many mistakes are told at a time; a config has some, or it is none."""

_DEPTH = 32
_VALUES = 1 << 17
_DIGITS = 100
"""A config of 1,000 workloads has 40,000 values, at most 6 deep."""

_NUMBERS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader, within bounds, which names the line of what it makes no sense of."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node.

        :raises yaml.MarkedYAMLError: when it is one too many, or too deep
        """
        self._depth += 1
        self._values += 1
        if self._depth > _DEPTH:
            raise self._error(f"it is nested more than {_DEPTH} deep")
        if self._values > _VALUES:
            raise self._error(f"it holds more than {_VALUES} values")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def _error(self, problem: str) -> yaml.MarkedYAMLError:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Return the value of ``node``."""
        if node.tag in _NUMBERS and len(node.value) > _DIGITS:
            problem = f"a number has more than {_DIGITS} digits"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            mark = node.start_mark
            raise yaml.constructor.ConstructorError(None, None, str(error), mark) from error


def verify_size(root: Any) -> None:
    """Refuse a node that holds too many values once its aliases are followed.

    To be called for what has no cycles.

    :raises yaml.MarkedYAMLError: then
    """
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = 1 + sum(map(size, _within(node)))
        return sizes[id(node)]

    if size(root) > _VALUES:
        raise yaml.MarkedYAMLError(
            problem=f"with its aliases it holds more than {_VALUES} values",
            problem_mark=root.start_mark,
        )


def _within(node: Any) -> Iterable[Any]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return ()
