"""JSON label files of which every field is checked before use; errors name the file and the field."""

import json
import math
import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...errors import UserError

_REQUIRED = object()


def load(path: Path) -> Any:
    """What the JSON file `path` holds. Raises UserError if it is missing, cut off or something else."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: expected a JSON file, it cannot be read ({error.strerror})") from error
    return parse(data, path)


def parse(data: bytes, path: Path) -> Any:
    """What the JSON text `data` of the file `path` holds."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnicodeDecodeError) and b"\0" not in data:
            raise UserError(
                f"{path}: expected a JSON file, it is not UTF-8 text; save it as UTF-8"
            ) from error
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UserError(
            f"{path}: expected a whole JSON file, it does not parse ({reason}); copy it again"
        ) from error


def load_list(path: Path, of: str) -> list[Any]:
    """What the JSON file `path` holds, which must be a list; `of` says what it lists."""
    values = load(path)
    if not isinstance(values, list):
        raise UserError(f"{path}: expected a list of {of}, got {describe(values)}")
    return values


def describe(value: Any) -> str:
    """`value` as in the file, cut short."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."


def inside(root: Path, name: str, source: str, base: str = "") -> Path:
    """`root / name` for a path that came out of a file: it must be relative and must not climb.

    Args:
        source: what the message begins with, the file and the field.
        base: the option that `root` comes from, for the advice.
    """
    parts = PurePosixPath(name).parts
    advice = ""
    if name.startswith("/") or re.match(r"[A-Za-z]:[\\/]|\\\\", name):
        slashes = ", with / between folders" if "\\" in name else ""
        advice = f"; it is absolute, make it relative to {base or root}{slashes}"
    elif "\\" in name:
        advice = "; use / between folders instead of \\"
    elif ".." in parts:
        advice = f"; name it without .., relative to {base or root}"
    if advice or "\0" in name or PurePosixPath(name).name in ("", "."):
        raise UserError(f"{source}: expected a path inside {root}, got {describe(name)}{advice}")
    return root / name


def canonical_id(value: Any) -> Any:
    """An id by which something is found again: a whole number, also in quotes or as 3.0, as int; the rest as it is."""
    # Canonical digits only: "007" and "7" are two names.
    if isinstance(value, str) and re.fullmatch(r"0|-?[1-9]\d{0,17}", value, re.ASCII):
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


class Fields:
    """The members of one JSON object. Each access checks presence and type.

    `place` is where the object stands in the file, "annotations[3]" for example, "" for the whole file.
    """

    __slots__ = ("path", "place", "values")

    def __init__(self, path: Path, place: str, values: Any) -> None:
        self.path, self.place, self.values = path, place, values
        if not isinstance(values, dict):
            where = f"{place}: " if place else ""
            raise UserError(f"{path}: {where}expected an object with named fields, got {describe(values)}")

    def where(self, key: str) -> str:
        """File and dotted place of the field `key`, as messages begin."""
        return f"{self.path}: {self.place}{'.' if self.place else ''}{key}"

    def wrong(self, key: str, expected: str) -> UserError:
        """The error to raise where the field `key` is not what was expected."""
        got = describe(self.values[key]) if key in self.values else "no such field"
        return UserError(f"{self.where(key)}: expected {expected}, got {got}")

    def has(self, key: str) -> bool:
        """Whether a value is given: null is none, nor is the NaN that tables have in empty cells."""
        value = self.values.get(key)
        return value is not None and value == value

    def filled(self, key: str) -> bool:
        """Whether the field holds something: [] is how exports write that there is nothing."""
        return self.has(key) and self.values[key] != []

    def whole(self, key: str, default: Any = _REQUIRED) -> Any:
        """A whole number; 3.0 is one, true and "3" are not."""
        value = self.values.get(key)
        if default is not _REQUIRED and not self.has(key):
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.wrong(key, "a whole number")
        if value != int(value) or abs(value) >= 2**63:
            raise self.wrong(key, "a whole number")
        return int(value)

    def id(self, key: str) -> int | str:
        """What something is called by, only to be found again: a whole number, also in quotes, or text."""
        value = self.values.get(key)
        if isinstance(value, str) and value:
            return canonical_id(value)
        try:
            return self.whole(key)
        except UserError as error:
            raise self.wrong(key, "a whole number or text") from error

    def number(self, key: str, default: Any = _REQUIRED) -> Any:
        value = self.values.get(key)
        if default is not _REQUIRED and not self.has(key):
            return default
        return float(self._finite(key, [value], "a finite number")[0])

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "text")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false, also as 1 or 0."""
        value = self.values[key] if self.has(key) else default
        if value not in (0, 1):
            raise self.wrong(key, "true or false")
        return bool(value)

    def numbers(self, key: str, count: int | None) -> np.ndarray:
        """A list of `count` finite numbers (None: any number of them) as float64."""
        value = self.values.get(key)
        noun = "finite numbers" if count is None else f"{count} finite numbers"
        if not isinstance(value, list) or (count is not None and len(value) != count):
            raise self.wrong(key, f"a list of {noun}")
        return self._finite(key, value, noun)

    def items(self, key: str) -> list[Any]:
        value = self.values.get(key)
        if not isinstance(value, list):
            raise self.wrong(key, "a list")
        return value

    def objects(self, key: str) -> list["Fields"]:
        start = f"{self.place}{'.' if self.place else ''}{key}"
        return [Fields(self.path, f"{start}[{i}]", value) for i, value in enumerate(self.items(key))]

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.items(key)
        if not all(isinstance(value, str) and value for value in values):
            raise self.wrong(key, "a list of names")
        return tuple(values)

    def _finite(self, key: str, values: list[Any], expected: str) -> np.ndarray:
        array = None if any(isinstance(value, (bool, list)) for value in values) else np.array(values)
        if array is None or (array.size and array.dtype.kind not in "iuf") or not np.isfinite(array).all():
            raise self.wrong(key, expected)
        return array.astype(np.float64)
