"""How numbers stand in files: as in predictions.json, and empty where something is missing."""

import math

PIXEL_DIGITS, SCORE_DIGITS, TIME_DIGITS = 3, 5, 6
ANGLE_DIGITS = 3


def rounded(value: float, digits: int) -> float | str:
    """The number with so many digits after the point, "" for NaN."""
    return "" if math.isnan(value) else round(float(value), digits)


def rounded_all(values: object, digits: int) -> list[float | str]:
    """`rounded` of each of many."""
    return [rounded(value, digits) for value in values]
