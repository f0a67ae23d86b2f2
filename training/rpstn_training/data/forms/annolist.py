"""PoseTrack17's label form "annolist", which PoseTrack, HiEve and their submissions use: lists of one element
wherever a value stands.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UserError
from .jsonfiles import Fields

_REQUIRED = object()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rect:
    """One entry of `annorect`: `points` [N, 4] joint, x, y, score, None where there is no list of points; `box` [4]
    corners. A number that is not given is NaN, a `track_id` None.
    """

    points: np.ndarray | None
    box: np.ndarray
    score: float
    track_id: int | None
    fields: Fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One entry of `annolist`: the picture's name as in the file, its people, polygons [N, 2] of ignored regions."""

    name: str
    rects: list[Rect]
    ignore_regions: list[np.ndarray]
    image: Fields


def frames(file: Fields, joints: int) -> Iterator[Frame]:
    """The frames in their order; the points of a person have ids below `joints`, each once.

    Raises UserError naming the file and the field that is missing or not what it should be.
    """
    for entry in file.objects("annolist"):
        image = entry.objects("image")
        if len(image) != 1:
            raise entry.wrong("image", "one image")
        yield Frame(
            name=image[0].text("name"),
            rects=[_rect(fields, joints) for fields in entry.objects("annorect")]
            if entry.has("annorect")
            else [],
            ignore_regions=_regions(entry),
            image=image[0],
        )


def _rect(fields: Fields, joints: int) -> Rect:
    track_id = _leaf(fields, "track_id", None)
    if track_id is not None and track_id != int(track_id):
        raise fields.wrong("track_id", "a whole number")
    return Rect(
        points=_points(fields, joints),
        box=np.array([_leaf(fields, key, np.nan) for key in ("x1", "y1", "x2", "y2")]),
        score=_leaf(fields, "score", np.nan),
        track_id=None if track_id is None else int(track_id),
        fields=fields,
    )


def _points(person: Fields, joints: int) -> np.ndarray | None:
    if not person.has("annopoints") or not person.values["annopoints"]:
        return None
    holders = person.objects("annopoints")
    if len(holders) != 1:
        raise person.wrong("annopoints", "one list of points")
    if not holders[0].has("point"):
        return None
    keys = ("id", "x", "y", "score")
    entries = holders[0].items("point")
    try:  # millions of points: each by itself only where something is wrong
        points = np.array([[entry[key] for key in keys] for entry in entries])
        plain = (
            points.shape in ((0,), (len(entries), 4, 1))
            and points.dtype.kind in "iuf"
            and np.isfinite(points).all()
        )
    except (TypeError, KeyError, ValueError):
        plain = False
    if not plain:
        fields = holders[0].objects("point")
        points = np.array(
            [[_leaf(entry, key, np.nan if key == "score" else _REQUIRED) for key in keys] for entry in fields]
        )
    points = points.reshape(-1, 4).astype(np.float64)
    ids = points[:, 0]
    if not np.isin(ids, np.arange(joints)).all() or len(np.unique(ids)) != len(ids):
        got = ", ".join(f"{number:g}" for number in ids)
        raise UserError(
            f"{holders[0].where('point')}: expected each id 0..{joints - 1} at most once, got {got}"
        )
    return points


def place(points: Sequence[np.ndarray | None], joints: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points of N people by their ids: positions [N, K, 2], 0 where there is none, scores [N, K], NaN where none is
    given, and bool [N, K] which points there are.
    """
    positions = np.zeros((len(points), joints, 2))
    scores = np.full((len(points), joints), np.nan)
    present = np.zeros((len(points), joints), dtype=bool)
    for person, listed in enumerate(points):
        if listed is not None:
            ids = listed[:, 0].astype(int)
            positions[person, ids], scores[person, ids] = listed[:, 1:3], listed[:, 3]
            present[person, ids] = True
    return positions, scores, present


def _regions(entry: Fields) -> list[np.ndarray]:
    if not entry.has("ignore_regions"):
        return []
    return [
        np.array([[_leaf(point, key) for key in ("x", "y")] for point in region.objects("point")]).reshape(
            -1, 2
        )
        for region in entry.objects("ignore_regions")
    ]


def _leaf(fields: Fields, key: str, default: Any = _REQUIRED) -> Any:
    """A number, alone or as the one element of a list."""
    if default is not _REQUIRED and (not fields.has(key) or fields.values[key] == []):
        return default
    if isinstance(fields.values.get(key), list):
        return float(fields.numbers(key, 1)[0])
    return fields.number(key)
