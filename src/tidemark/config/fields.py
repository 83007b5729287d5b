"""The types of the config's fields: what a value may be, and what is said when it is not.

There are no unions among them: a union's mistakes cannot be told in one sentence.
"""

import re
from collections.abc import Callable, Mapping
from os.path import normpath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, WrapValidator
from pydantic.config import JsonDict

from tidemark.config.mistakes import shown
from tidemark.config.section import fault, mistake, not_a, shown_key, together

NUL = "\0"
LONGEST_NAME = 64
LARGEST_PID = 4194304  # PID_MAX_LIMIT of the kernel
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED = "run"


def _word(value: object) -> str:
    # YAML makes numbers of the words 4 and 0.5, which every program wants as text.
    if isinstance(value, bool):
        raise fault(f"is {shown(value)}, must be text or a number; put the word in quotes")
    if not isinstance(value, str | int | float):
        raise not_a(value, "text or a number")
    if NUL in str(value):
        raise fault("holds a NUL character, which no program can be given; remove it")
    return str(value)


def _words(value: object) -> tuple[Any, ...]:
    wanted = "a list of words, or one program without arguments"
    if not isinstance(value, str | list | tuple):
        raise not_a(value, wanted)
    words = (value,) if isinstance(value, str) else tuple(value)
    if not words or words[0] == "":
        raise fault(f"names no program, must be {wanted}")
    return words


def _text(value: str) -> str:
    if not value.strip() or NUL in value:
        raise fault(f"is {shown(value)}, must be a path")
    return value


def _results(value: str) -> str:
    # Snakemake reads braces as wildcards; the shell, not the kernel, knows the tilde.
    if wrong := [character for character in "{}~" if character in value]:
        raise fault(f"is {shown(value)}, must be a path without `{wrong[0]}`")
    return normpath(_text(value))


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise fault(
            f"is {shown(value)}, must be a regular expression: {error.msg}"
            + ("" if error.pos is None else f" at character {error.pos + 1}")
        ) from None
    return value


def _true(value: object) -> bool:
    if value is not True:
        raise not_a(value, "true; remove the key instead")
    return True


def _audit(value: object) -> float:
    # YAML 1.1 reads `off` as false.
    shares = {"off": 0.0, False: 0.0, "full": 1.0}
    if isinstance(value, str | bool) and value in shares:
        return shares[value]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise not_a(value, "`off`, `full`, or a share from 0 to 1")
    return float(value)


def _name_fault(name: str) -> str | None:
    if not NAME.fullmatch(name):
        return "a name is a letter, then letters, digits, `_` and `-`; rename the workload"
    if len(name) > LONGEST_NAME:
        return f"a name has at most {LONGEST_NAME} characters; rename the workload"
    if name == RESERVED:
        return "this name is taken by a directory of every run; rename the workload"
    return None


def _variable_fault(name: str) -> str | None:
    if not VARIABLE.fullmatch(name):
        return "a variable is a letter or `_`, then letters, digits and `_`; rename it"
    return None


def _named(
    what: str, name_fault: Callable[[str], str | None]
) -> Callable[[Any, Callable[[Any], Any]], Any]:
    """Return a validator of a mapping whose keys the user chooses."""

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        if not isinstance(value, Mapping):
            raise not_a(value, f"a mapping of names to {what}")
        named = {shown_key(name): item for name, item in value.items()}
        faults = {shown_key(name): _key_fault(name, name_fault) for name in value}
        own = [mistake(text, name) for name, text in faults.items() if text]
        return together(own, handler, named)

    return check


def _key_fault(name: object, name_fault: Callable[[str], str | None]) -> str | None:
    if not isinstance(name, str):
        return "YAML does not read this name as text; put it in quotes"
    return name_fault(name)


_WORD_SCHEMA = {"type": ["string", "number"]}
_WORDS_SCHEMA = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": _WORD_SCHEMA, "minItems": 1},
    ]
}

NAME_SCHEMA: JsonDict = {
    "pattern": f"^{NAME.pattern}$",
    "maxLength": LONGEST_NAME,
    "not": {"const": RESERVED},
}

Count = Annotated[int, Field(ge=1)]
Pid = Annotated[int, Field(ge=1, le=LARGEST_PID)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Delay = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Text = Annotated[str, AfterValidator(_text), Field(json_schema_extra={"minLength": 1})]
Results = Annotated[
    str, AfterValidator(_results), Field(json_schema_extra={"pattern": "^[^{}~]+$"})
]
Pattern = Annotated[str, AfterValidator(_pattern), Field(json_schema_extra={"format": "regex"})]
Yes = Annotated[Literal[True], BeforeValidator(_true)]
Word = Annotated[str, BeforeValidator(_word), WithJsonSchema(_WORD_SCHEMA)]
Words = Annotated[tuple[Word, ...], BeforeValidator(_words), WithJsonSchema(_WORDS_SCHEMA)]
Signal = Literal["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "KILL"]
Audit = Annotated[
    float,
    BeforeValidator(_audit),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["off", "full", False]},
                {"type": "number", "minimum": 0, "maximum": 1},
            ]
        }
    ),
]
Form = Literal["stepwise", "fused"]
Tracker = Literal["auto", "uffd-wp", "soft-dirty", "content"]
Environment = Annotated[
    dict[str, Word],
    WrapValidator(_named("values", _variable_fault)),
    Field(json_schema_extra={"propertyNames": {"pattern": f"^{VARIABLE.pattern}$"}}),
]
ByName = WrapValidator(_named("workloads", _name_fault))
