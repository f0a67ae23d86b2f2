"""What every score returns."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Table:
    """Scores in percent, with the protocol behind them.

    `rows` maps the name of a row to its values by column, the same columns in each: a float is a percentage, NaN where
    nothing defines it, an int a number of things. `main` is the one number to be quoted, as a fraction of 1, and
    `main_name` what it is called. `details` are further results for the JSON file, in plain types.
    """

    title: str
    rows: Mapping[str, Mapping[str, float]]
    protocol: tuple[str, ...]
    main: float
    main_name: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, row in self.rows.items():
            if tuple(row) != self.columns:
                raise ValueError(
                    f"Table {self.title}: expected the columns {', '.join(self.columns)} in row {name}, "
                    f"got {', '.join(row)}"
                )

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(next(iter(self.rows.values()), ()))

    @property
    def text(self) -> str:
        """For people; "-" is not defined."""
        cells = {name: [_cell(value) for value in row.values()] for name, row in self.rows.items()}
        lines = {"": self.columns, **cells}
        width = max(map(len, lines)) + 1
        widths = [max(7, *(len(cell) + 2 for cell in column)) for column in zip(*lines.values())]
        body = [
            f"{name:<{width}}" + "".join(f"{cell:>{size}}" for cell, size in zip(line, widths))
            for name, line in lines.items()
        ]
        return "\n".join([self.title, *body, *self.protocol])

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON; what is not defined is None."""
        return {
            "title": self.title,
            "columns": list(self.columns),
            "rows": plain(self.rows),
            "protocol": list(self.protocol),
            "main": plain(self.main),
            "main_name": self.main_name,
            "details": plain(self.details),
        }


def _cell(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.1f}"


def plain(value: Any) -> Any:
    """The same in the types of JSON, NaN as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return plain(value.tolist())
    return None if isinstance(value, float) and math.isnan(value) else value


def mean_of_known(values: np.ndarray) -> float:
    """The mean of those of `values` [N] that are not NaN; NaN where there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def noted(counts: Mapping[str, int], remarks: Mapping[str, str], *more: str) -> tuple[str, ...]:
    """The protocol's line of what was counted and is worth a remark, none where there is nothing."""
    found = [*(f"{counts[key]} {text}" for key, text in remarks.items() if counts[key]), *more]
    return (f"Noted: {'; '.join(found)}",) if found else ()
