"""What every official score returns."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of scores in percent, with the protocol behind it.

    `rows` maps a row's name to a value per column, NaN where nothing defines it. `main` is the one number to be
    quoted, as a fraction of 1. `details` are further results for the JSON file, in plain types.
    """

    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, Sequence[float]]
    protocol: tuple[str, ...]
    main: float
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in self.rows.items():
            if len(values) != len(self.columns):
                raise ValueError(
                    f"Table {self.title}: expected {len(self.columns)} values in row {name}, got {len(values)}"
                )

    @property
    def text(self) -> str:
        """For people; "-" is not defined."""
        width = max(map(len, self.rows), default=0) + 1
        widths = [max(7, len(column) + 2) for column in self.columns]
        head = "".join(f"{column:>{size}}" for column, size in zip(self.columns, widths))
        lines = [self.title, " " * width + head]
        for name, values in self.rows.items():
            cells = "".join(
                f"{'-':>{size}}" if math.isnan(value) else f"{value:{size}.1f}"
                for value, size in zip(values, widths)
            )
            lines.append(f"{name:<{width}}{cells}")
        return "\n".join([*lines, *self.protocol])

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON; what is not defined is None."""
        return {
            "title": self.title,
            "columns": list(self.columns),
            "rows": {name: list(values) for name, values in _plain(self.rows).items()},
            "protocol": list(self.protocol),
            "main": _plain(self.main),
            "details": _plain(self.details),
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return _plain(value.tolist())
    return None if isinstance(value, float) and math.isnan(value) else value
