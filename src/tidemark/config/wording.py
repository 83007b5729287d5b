"""Pydantic's errors in this project's words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tidemark.config.mistakes import Mistake, nearest, quoted, shown
from tidemark.config.section import OWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

MUST: Mapping[str, str] = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "greater_than": "must be more than {gt:.15g}",
    "greater_than_equal": "must be at least {ge:.15g}",
    "too_short": "must have at least {min_length} entry",
    "less_than_equal": "must be at most {le:.15g}",
}
NUMERIC = ("int_type", "float_type")


def mistakes(error: ValidationError) -> Iterator[Mistake]:
    """Yield the mistakes that a validation found, without the files that they are in."""
    for details in error.errors(include_url=False):
        yield Mistake(details["loc"], sentence(details))


def sentence(error: ErrorDetails) -> str:
    """Return what is wrong and how to mend it."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == OWN:
        return error["msg"]
    is_ = f"is {'empty' if value is None else shown(value)}"
    if kind == "literal_error":
        return f"{is_}, {_choice(value, context)}"
    if kind not in MUST:
        return f"{is_}, which does not belong here"
    return f"{is_}, {MUST[kind].format(**context)}{_hint(kind, value)}"


def _choice(value: object, context: Mapping[str, Any]) -> str:
    names = re.findall(r"'([^']*)'", context["expected"])
    near = nearest(value, names)
    return f"must be {quoted(names)}" + (f"; did you mean `{near}`?" if near else "")


def _hint(kind: str, value: object) -> str:
    if kind == "string_type" and not isinstance(value, list | dict | None):
        return "; put it in quotes"
    if kind in NUMERIC and isinstance(value, str):
        number = _number(value)
        return "" if number is None else f"; write {number} without quotes"
    return ""


def _number(text: str) -> str | None:
    # YAML takes 1e-3 for text: the number must be written in a way that it understands.
    try:
        return f"{float(text):.15g}" if re.fullmatch(r"[-+0-9.eE]+", text.strip()) else None
    except ValueError:
        return None
