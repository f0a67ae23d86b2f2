"""`pck_released`, the figure that the released evaluator prints (`accuracy` in its lib/utils/evaluate.py). It is no
PCK: perfect predictions can miss the mark and wrong ones hit it. It is here to be set beside the PCK of `scores.pck`.

Where it differs, for a clip of T frames:

    1. positions are the arg-max cells of 64x64 maps of the box stretched to a square, not pixels of the image
    2. d(t, j) = ||prediction / 6.4 - target / 6.4 + 1||: a tenth of the map as unit, and 1 added to both components,
       so a perfect prediction has d = sqrt(2)
    3. hit where d < gamma * L with the torso L in cells that are not divided by 6.4, a tolerance 6.4 times as wide
       about a centre 6.4 cells off
    4. L is that of the clip's first frame for all its frames; where a torso is under 1, that of the prediction
    5. a joint counts where its target cell has x > 1 and y > 1, whatever its visibility
    6. the share of hits is taken per clip and joint, then averaged over the clips in which the joint counted
    7. the person size is measured between a corner in the crop and one in the picture, in pixels, against distances in
       6.4 cells; on Sub-JHMDB times 0.35. Practically everything passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data.records import Skeleton, Track
from .pck import PckResult

CELLS = 64
CROP = 256  # pixels of the stretched crop's side
CLIP = 5  # frames
GAMMA = 0.2

_TENTHS = 10.0
_FIRST_COUNTED = 1.0
_SHORTEST_TORSO = 1.0
_PERSON_FACTOR = {"sub_jhmdb": 0.35}


@dataclass(frozen=True, kw_only=True)
class Released:
    """`per_joint` [K] and `mean` over the joints as fractions of 1, NaN where nothing counted; `clips` went in."""

    per_joint: np.ndarray
    mean: float
    clips: int


def to_cells(joints: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Cells [T, K, 2] of the maps of the stretched boxes in which joints [T, K, 2] lie.

    joints, boxes [T, 4] (x1, y1, x2, y2): pixels of the image. As the release: pixels of the crop cut off to whole
    numbers and clipped to it, then divided by 4 and cut off again.
    """
    corner, size = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
    pixels = np.clip(np.trunc((joints - corner) * CROP / size), 0, CROP - 1)
    return np.floor(pixels * CELLS / CROP)


def person_sizes(boxes: np.ndarray, *, factor: float = 1.0) -> np.ndarray:
    """The released person size [N] of boxes [N, 4] in pixels of the image.

    The release subtracts rows 14 and 16 of its labels, the box's corners (x1, y1) and (x2, y1), of which its crop
    rescales one and leaves the other as it was. Which one, it does not say; here (x2, y1) is rescaled to the crop's
    corner. `factor` is 0.35 on Sub-JHMDB.
    """
    rescaled = np.array([CROP, 0.0])
    return factor * np.abs(rescaled - boxes[:, :2]).max(axis=1)


def pck_released(
    predicted: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    *,
    torso: tuple[int, int] | None = None,
    sizes: Sequence[float] | None = None,
    gamma: float = GAMMA,
) -> Released:
    """The figure over clips.

    Args:
        predicted, targets: of each clip, the cells [T, K, 2] of the maps' peaks, from `to_cells` for instance.
        torso: the joints whose distance is L. sizes: L of each clip instead, from `person_sizes`.
    """
    if (torso is None) == (sizes is None):
        raise ValueError("pck_released: expected either torso or sizes")
    if not len(predicted) == len(targets) == len(targets if sizes is None else sizes):
        raise ValueError(f"pck_released: expected {len(targets)} clips everywhere, got {len(predicted)}")
    shares = []
    for number, (found, target) in enumerate(zip(predicted, targets)):
        if found.shape != target.shape:
            raise ValueError(
                f"pck_released: expected predicted {list(target.shape)} like targets, got {list(found.shape)}"
            )
        size = _torso(found[0], target[0], torso) if sizes is None else sizes[number]
        unit = CELLS / _TENTHS
        distance = np.linalg.norm(found / unit - target / unit + 1, axis=-1)
        counted = (target > _FIRST_COUNTED).all(axis=-1)
        hits = ((distance < gamma * size) & counted).sum(axis=0)
        counted = counted.sum(axis=0)
        shares.append(np.divide(hits, counted, out=np.full(hits.shape, np.nan), where=counted > 0))
    per_joint = _mean_known(np.array(shares)) if shares else np.empty(0)
    return Released(
        per_joint=per_joint,
        mean=float(_mean_known(per_joint[:, None])[0]) if len(per_joint) else float("nan"),
        clips=len(shares),
    )


def _torso(found: np.ndarray, target: np.ndarray, pair: tuple[int, int]) -> float:
    first, second = pair
    length = float(np.linalg.norm(target[first] - target[second]))
    return length if length >= _SHORTEST_TORSO else float(np.linalg.norm(found[first] - found[second]))


def _mean_known(values: np.ndarray) -> np.ndarray:
    """Means over axis 0 of what is not NaN."""
    known = ~np.isnan(values)
    total, number = np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def clips_of(frames: np.ndarray, length: int = CLIP) -> list[np.ndarray]:
    """The frames that are True in bool [F], as runs of up to `length` that follow each other.

    >>> clips_of(np.array([True, True, True, False, True]), 2)
    [array([0, 1]), array([2]), array([4])]
    """
    chosen = np.flatnonzero(frames)
    runs = np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1) if len(chosen) else []
    return [run[first : first + length] for run in runs for first in range(0, len(run), length)]


def released_rows(
    predictions: Sequence[np.ndarray],
    predicted: Sequence[np.ndarray],
    tracks: Sequence[Track],
    skeleton: Skeleton,
) -> dict[str, PckResult]:
    """`pck_released` by both normalisers, as rows of a table; the record is only the form of a row.

    predictions: per track, ndarray[F, K, 2] in pixels of the image. predicted: bool ndarray[F], the frames to take, as
    clips of five.
    """
    found, targets, boxes = [], [], []
    for joints, frames, track in zip(predictions, predicted, tracks):
        for clip in clips_of(frames):
            found.append(to_cells(joints[clip], track.boxes[clip]))
            targets.append(to_cells(track.joints[clip], track.boxes[clip]))
            boxes.append(track.boxes[clip[0]])
    sizes = person_sizes(np.array(boxes).reshape(-1, 4), factor=_PERSON_FACTOR.get(skeleton.name, 1.0))

    def row(released: Released, normaliser: str) -> PckResult:
        return PckResult(
            gamma=GAMMA,
            protocol=f"{normaliser}, {released.clips} clips; the figure of the released evaluator, not a PCK",
            per_joint=released.per_joint,
            counted=np.zeros(len(skeleton.joints), dtype=np.int64),
            hits=None,
            micro=float("nan"),
            skeleton=skeleton,
        )

    return {
        "pck_released, person": row(pck_released(found, targets, sizes=sizes), "person size"),
        "pck_released, torso": row(pck_released(found, targets, torso=skeleton.torso), "torso size"),
    }
