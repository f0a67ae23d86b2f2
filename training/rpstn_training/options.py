"""Options that a data set's or a score's own function takes: its keyword-only arguments, by their annotations."""

import inspect
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from .config import convert, parse_override
from .errors import UserError


def options_of(function: Callable, without: Container[str] = ()) -> dict[str, Any]:
    """The annotations of the keyword-only arguments, by name."""
    return {
        name: parameter.annotation
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in without
    }


def convert_options(
    given: Mapping[str, Any], known: Mapping[str, Any], *, prefix: str, owner: str
) -> dict[str, Any]:
    """`given` as the annotated types. Raises UserError, beginning with `prefix` and the name, for an option that
    `owner` does not have and for a value of another type.
    """
    converted = {}
    for name, value in given.items():
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise UserError(f"{prefix}{name}: expected an option of {owner}, {has}")
        try:
            converted[name] = convert(value, known[name])
        except TypeError as error:
            raise UserError(f"{prefix}{name}: expected {error}, got {value!r}") from error
    return converted


def parse_options(overrides: Sequence[str]) -> dict[str, Any]:
    """The values of `--set option=value` arguments, read as YAML; the last of one name counts."""
    return dict(parse_override(override) for override in overrides)
