"""Values out of YAML by their annotations, and the options that a function takes: its keyword-only arguments."""

import dataclasses
import difflib
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, Literal

import yaml

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
            near = _nearest(value, known[name])
            raise UserError(f"{prefix}{name}: expected {error}, got {value!r}{near}") from error
    return converted


def _nearest(value: Any, hint: Any) -> str:
    """Of the words of a `Literal` the one that was perhaps meant, as the end of a message."""
    words = [word for word in typing.get_args(hint) if isinstance(word, str)]
    near = difflib.get_close_matches(value, words, n=1) if isinstance(value, str) else []
    return f"; did you mean {near[0]}?" if near else ""


def parse_options(overrides: Sequence[str]) -> dict[str, Any]:
    """The values of `--set option=value` arguments, read as YAML; the last of one name counts."""
    return dict(parse_override(override) for override in overrides)


def parse_yaml(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None and "\n" in text else ""
        problem = getattr(error, "problem", None) or "it does not parse"
        raise UserError(f"{source}{line}: expected YAML, but {problem}") from error


def parse_override(override: str) -> tuple[str, Any]:
    """Dotted key and value of a `--set KEY=VALUE`, the value read as YAML."""
    source = f"--set {override}"
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not re.fullmatch(r"\w+(\.\w+)*", key):
        raise UserError(f"{source}: expected KEY=VALUE, for example --set train.epochs=20")
    return key, parse_yaml(text, source)


def convert(value: Any, hint: Any) -> Any:
    """`value` out of YAML as the annotated type; `TypeError` whose text says what was expected."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _convert_union(value, args)
    if origin is Literal:
        if value not in args or isinstance(value, bool):
            raise TypeError("one of " + ", ".join(map(str, args)) if len(args) > 1 else str(args[0]))
        return value
    if dataclasses.is_dataclass(hint):
        return _convert_part(value, hint)
    if origin is tuple:
        return _convert_tuple(value, args)
    if origin is dict:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise TypeError("a section of keys")
        return plain(value)
    if hint is float:
        return _convert_number(value)
    names = {int: "a whole number", str: "text", bool: "true or false"}
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise TypeError(names[hint])
    return value


def _convert_union(value: Any, args: tuple) -> Any:
    if value is None and types.NoneType in args:
        return None
    expected = []
    for arg in args:
        if arg is not types.NoneType:
            try:
                return convert(value, arg)
            except TypeError as error:
                expected.append(str(error))
    raise TypeError(" or ".join([*expected, *(["null"] if types.NoneType in args else [])]))


def _convert_part(value: Any, kind: type) -> Any:
    """A small description: a section of the dataclass's fields, or a word for its first one."""
    fields = [f.name for f in dataclasses.fields(kind)]
    if isinstance(value, kind):
        return value
    given = {fields[0]: value} if isinstance(value, str) else value
    expected = f"a word, or a section with {' and '.join(fields)}"
    if not isinstance(given, Mapping) or fields[0] not in given or not set(given) <= set(fields):
        raise TypeError(expected)
    hints = typing.get_type_hints(kind)
    try:
        return kind(**{name: convert(item, hints[name]) for name, item in given.items()})
    except TypeError as error:
        raise TypeError(f"{expected}, of which one is to be {error}") from error


def _convert_tuple(value: Any, args: tuple) -> tuple:
    inner = args[0]
    noun = {int: "whole numbers", str: "names"}.get(inner, "numbers")
    open_ended = len(args) == 2 and args[1] is Ellipsis
    expected = f"a list of {noun}" if open_ended else f"a list of {len(args)} {noun}"
    if not isinstance(value, (list, tuple)) or (not open_ended and len(value) != len(args)):
        raise TypeError(expected)
    try:
        return tuple(convert(item, inner) for item in value)
    except TypeError as error:
        raise TypeError(expected) from error


def _convert_number(value: Any) -> float:
    """PyYAML reads 1e-4 (no point) as text, as YAML 1.1 says: numbers written that way are numbers here."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError("a finite number")
    return float(value)


def describe(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a section of keys"
    names = {
        bool: "true or false",
        int: "the whole number",
        float: "the number",
        str: "the text",
        list: "the list",
    }
    if isinstance(value, bool):
        return str(value).lower()
    return f"{names.get(type(value), type(value).__name__)} {value!r}"


def plain(value: Any) -> Any:
    """Dataclasses and tuples as dicts and lists, all the way down."""
    if dataclasses.is_dataclass(value):
        return plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
