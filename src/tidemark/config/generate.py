"""The files that are made from the config's models: ``python -m tidemark.config.generate``.

With ``--check`` nothing is written; the exit code is 1 when a file is out of date.
"""

from __future__ import annotations

import json
import sys
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from tidemark.config.mistakes import quoted
from tidemark.config.models import Config
from tidemark.config.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic.fields import FieldInfo

COMMAND = "python -m tidemark.config.generate"
SCHEMA = "workflow/schemas/config.schema.json"
README = "config/README.md"
BEGIN = f"<!-- keys: made by `{COMMAND}`, do not edit -->\n"
END = "<!-- end of keys -->\n"
HEADER = "| key | takes | default | meaning |\n|---|---|---|---|\n"


def schema() -> str:
    """Return the config's JSON schema."""
    value = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"made by `{COMMAND}`, do not edit",
        **Config.model_json_schema(),
    }
    return json.dumps(_without_class_names(value), indent=2) + "\n"


def _without_class_names(value: dict[str, Any]) -> dict[str, Any]:
    # The names of our classes mean nothing to the reader of an editor's hint.
    sections = {
        name: {key: item for key, item in section.items() if key != "title"}
        for name, section in value["$defs"].items()
    }
    return {**value, "title": "Tidemark's config", "$defs": sections}


def reference() -> str:
    """Return the table of all keys."""
    return HEADER + "".join(_rows("", Config))


def _rows(prefix: str, section: type[Section]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        key, below = f"{prefix}{name}", _section_in(field.annotation)
        if below and get_origin(field.annotation) is dict:
            yield _row(key, field, None)
            key = f"{key}.NAME"
            yield f"| `{key}` | a mapping | required | {below.__doc__}{_one(below)} |\n"
        else:
            yield _row(key, field, below)
        if below:
            yield from _rows(f"{key}.", below)


def _row(key: str, field: FieldInfo, below: type[Section] | None) -> str:
    meaning = f"{field.description}{_one(below)}"
    return f"| `{key}` | {field.title} | {_default(field)} | {meaning} |\n"


def _one(section: type[Section] | None) -> str:
    names = section.exactly_one if section else ()
    return f" Exactly one of {quoted(names)}." if names else ""


def _default(field: FieldInfo) -> str:
    match field.default:
        case _ if field.is_required():
            return "required"
        case None | Section():
            return ""
        case float() as number:
            return f"`{number:g}`"
        case {}:
            return "none"
        case other:
            return f"`{other}`"


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)


def wanted(root: Path) -> Mapping[str, str]:
    """Return what the generated files below ``root`` have to hold."""
    readme = (root / README).read_text(encoding="utf-8")
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return {SCHEMA: schema(), README: f"{before}{BEGIN}{reference()}{END}{after}"}


def differences(root: Path) -> str:
    """Return what has to change in the generated files, as a diff; empty if nothing has."""
    lines: list[str] = []
    for name, text in wanted(root).items():
        path = root / name
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        lines += unified_diff(
            old.splitlines(keepends=True), text.splitlines(keepends=True), name, f"{name} (models)"
        )
    return "".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Write the generated files of this checkout, or with ``--check`` compare them."""
    root = Path(__file__).parents[3]
    if "--check" not in arguments:
        for name, text in wanted(root).items():
            (root / name).write_text(text, encoding="utf-8")
        return 0
    if found := differences(root):
        sys.stdout.write(f"{found}\nThe models have changed; run: {COMMAND}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
