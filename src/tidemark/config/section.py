"""The base of the config's models: a mapping whose mistakes are all found in one go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from tidemark.config.mistakes import nearest, quoted, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic_core import ErrorDetails

OWN = "tidemark"
"""The error type of the mistakes that are already in our own words."""

Value = TypeVar("Value")


def fault(text: str) -> PydanticCustomError:
    """Return the error that a validator of ours raises; ``text`` is shown as it is."""
    return PydanticCustomError(OWN, text)


def not_a(value: object, wanted: str) -> PydanticCustomError:
    """Return the error for a value of the wrong kind."""
    return fault(f"is {'empty' if value is None else shown(value)}, must be {wanted}")


def mistake(text: str, *path: str) -> InitErrorDetails:
    """Return a mistake at ``path`` below the section that reports it."""
    return InitErrorDetails(type=fault(text), loc=path, input=None)


def together(own: list[InitErrorDetails], handler: Callable[[Any], Value], value: object) -> Value:
    """Return what ``handler`` makes of ``value``.

    :raises ValidationError: with ``own`` mistakes and those that ``handler`` finds
    """
    try:
        result = handler(value)
    except ValidationError as error:
        own = own + [_again(each) for each in error.errors() if each["type"] != "missing"]
        raise ValidationError.from_exception_data("config", own) from None
    if own:
        raise ValidationError.from_exception_data("config", own)
    return result


def _again(error: ErrorDetails) -> InitErrorDetails:
    kind = fault(error["msg"]) if error["type"] == OWN else error["type"]
    context = error.get("ctx", {})
    return InitErrorDetails(type=kind, loc=error["loc"], input=error["input"], ctx=context)


class Section(BaseModel):
    """A mapping of the config.

    Pydantic runs a model's own checks only once its fields are right. Ours come first, and what
    they find is raised along with the rest: a user mends a config once, not once per mistake.
    A field's ``title`` says what it takes, its ``description`` what it is for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    exactly_one: ClassVar[tuple[str, ...]] = ()
    """Fields of which one must be given, and no other."""
    elsewhere: ClassVar[Mapping[str, str]] = {}
    """Keys that are easily written one level too high, and the key that they belong in."""

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, value: Any, handler: Callable[[Any], Self]) -> Self:
        if not isinstance(value, Mapping):
            raise not_a(value, f"a mapping with {cls.wanted()}")
        known = {key: item for key, item in value.items() if key in cls.model_fields}
        meant = {cls._meant(key) for key in value if key not in known}
        own = [
            *(mistake(cls._unknown(key), shown_key(key)) for key in value if key not in known),
            *cls._missing({*known, *meant}),
            *cls._alternatives(known, meant),
            *cls.rules(known),
        ]
        return together(own, handler, known)

    @classmethod
    def rules(cls, given: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Yield what is wrong with the fields taken together; their values are yet unchecked."""
        del given
        yield from ()

    @classmethod
    def wanted(cls) -> str:
        """Return what a mapping must hold to be this section."""
        one = f"exactly one of {quoted(cls.exactly_one)}" if cls.exactly_one else ""
        required = [name for name, field in cls.model_fields.items() if field.is_required()]
        keys = required or ([] if one else list(cls.model_fields))
        return ", ".join(filter(None, (quoted(keys, "and") if keys else "", one)))

    @classmethod
    def _meant(cls, key: object) -> str | None:
        return cls.elsewhere.get(str(key)) or nearest(key, cls.model_fields)

    @classmethod
    def _unknown(cls, key: object) -> str:
        if key in cls.elsewhere:
            return f"unknown key; it belongs in `{cls.elsewhere[str(key)]}`"
        if near := nearest(key, cls.model_fields):
            return f"unknown key; did you mean `{near}`?"
        return f"unknown key; the keys here are {quoted(cls.model_fields, 'and')}"

    @classmethod
    def _missing(cls, given: set[str | None]) -> Iterator[InitErrorDetails]:
        for name, field in cls.model_fields.items():
            if field.is_required() and name not in given:
                yield mistake(
                    f"is missing, must be {field.title}{_holding(field.annotation)}", name
                )

    @classmethod
    def _alternatives(
        cls, given: Mapping[str, Any], meant: set[str | None]
    ) -> Iterator[InitErrorDetails]:
        names = [name for name in cls.exactly_one if given.get(name) is not None]
        if len(names) > 1:
            rest = "the other, or set it" if len(names) == 2 else "the others, or set them"
            one = f"must have exactly one of {quoted(cls.exactly_one)}"
            yield mistake(f"has {quoted(names, 'and')}, {one}; remove {rest} to null")
        elif cls.exactly_one and not names and meant.isdisjoint(cls.exactly_one):
            yield mistake(f"must have exactly one of {quoted(cls.exactly_one)}")


def _holding(annotation: object) -> str:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return f" with {annotation.wanted()}"
    return ""


def shown_key(key: object) -> str:
    """Return a key for the path of a mistake; YAML's keys need not be text."""
    return key if isinstance(key, str) else shown(key)
