"""Words of sentences for people."""

from collections.abc import Sequence


def several(number: int, noun: str) -> str:
    """A number with its noun.

    >>> several(1, "frame"), several(2000, "clip")
    ('1 frame', '2,000 clips')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(items: Sequence[str]) -> str:
    """Things in a row, with "and" before the last.

    >>> listed(["head", "left knee", "right knee"])
    'head, left knee and right knee'
    """
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
