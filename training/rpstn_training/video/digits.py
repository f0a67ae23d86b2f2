"""How numbers stand in files: the same in all of them."""

import math
from collections.abc import Iterable

PIXEL_DIGITS, SCORE_DIGITS, TIME_DIGITS, ANGLE_DIGITS = 3, 5, 6, 3


def rounded(value: float, digits: int) -> float | None:
    """The number with so many digits after the point, or None (null in JSON, empty in CSV) where it is not finite."""
    return round(float(value), digits) if math.isfinite(value) else None


def rounded_all(values: Iterable[float], digits: int) -> list[float | None]:
    """`rounded` of each of many."""
    return [rounded(value, digits) for value in values]
