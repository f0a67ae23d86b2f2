"""Which one of several people is meant: `--select largest|centre|X,Y`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UserError

WAYS = ("largest", "centre")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """`way` is one of `WAYS`, or None with a `point` in pixels of the picture.

    >>> boxes = np.array([[0.0, 0, 9, 9], [40, 40, 69, 99], [150, 0, 159, 29]])
    >>> [Selection.read(words).of(boxes, (161, 101)) for words in ("largest", "centre", "155,10")]
    [1, 1, 2]
    """

    way: str | None
    point: tuple[float, float] | None

    @classmethod
    def read(cls, words: str) -> "Selection":
        """As the command has it. Raises UserError."""
        if words in WAYS:
            return cls(way=words, point=None)
        try:
            x, y = (float(value) for value in words.split(","))
        except ValueError:
            x = y = math.nan
        if not (math.isfinite(x) and math.isfinite(y)):
            raise UserError(
                f"--select: expected {', '.join(WAYS)} or a point X,Y in pixels such as 320,180, got {words}"
            )
        return cls(way=None, point=(x, y))

    @property
    def in_words(self) -> str:
        if self.point is not None:
            return f"of several people the one nearest to {self.point[0]:g},{self.point[1]:g}"
        return {"largest": "of several people the largest", "centre": "of several people the most central"}[
            self.way
        ]

    def of(self, boxes: Sequence[np.ndarray] | np.ndarray, size_wh: tuple[int, int]) -> int:
        """The place among `boxes` [N, 4], N from 1 on, of who is meant in a picture of this size.

        The largest has the largest area. Nearest is whose box is, then whose middle.
        """
        boxes = np.asarray(boxes)
        if self.way == "largest":
            return int((boxes[:, 2:] - boxes[:, :2]).prod(axis=1).argmax())
        point = (np.array(size_wh) - 1) / 2 if self.point is None else np.array(self.point)
        outside = np.linalg.norm(
            np.maximum(np.maximum(boxes[:, :2] - point, point - boxes[:, 2:]), 0), axis=1
        )
        away = np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - point, axis=1)
        return int(np.lexsort((away, outside))[0])


class Chosen:
    """Who is meant: decided in the first frame with boxes, in stills in each. Without a selection all are."""

    def __init__(self, select: Selection | None, *, stills: bool) -> None:
        self._select, self._stills = select, stills
        self._person: int | None = None

    def of(self, boxes: dict[int, np.ndarray], size_wh: tuple[int, int]) -> dict[int, np.ndarray]:
        """Those of the boxes, by person, that are of who is meant."""
        if self._select is None or not boxes:
            return boxes
        if self._person is None or self._stills:
            self._person = list(boxes)[self._select.of(list(boxes.values()), size_wh)]
        return {person: box for person, box in boxes.items() if person == self._person}
