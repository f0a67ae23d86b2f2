"""PCKh, the share of joints within a part of the head size, as SimpleBaselines and HRNet count it on MPII.

    hit(n, j) = ||prediction - truth|| / head(n) <= threshold       head = 0.6 * diagonal of the annotated head box

Pelvis and thorax do not enter the mean, in which every joint weighs as often as it is annotated.
"""

from collections.abc import Sequence

import numpy as np

from .pck import PckCounts

HEAD_BOX_FACTOR = 0.6
NOT_IN_MEAN = (6, 7)  # pelvis and thorax


def means(counts: PckCounts) -> np.ndarray:
    """[G] over the joints that enter the mean."""
    chosen = [joint for joint in range(len(counts.counted)) if joint not in NOT_IN_MEAN]
    counted = counts.counted[chosen].sum()
    return counts.hits[:, chosen].sum(axis=1) / counted if counted else np.full(len(counts.hits), np.nan)


def head_sizes(boxes: np.ndarray) -> np.ndarray:
    """Head size [N] of head boxes [N, 4] x1, y1, x2, y2."""
    return HEAD_BOX_FACTOR * np.linalg.norm(boxes[:, 2:] - boxes[:, :2], axis=1)


def pckh(
    predicted: np.ndarray,
    truth: np.ndarray,
    annotated: np.ndarray,
    heads: np.ndarray,
    *,
    thresholds: Sequence[float] = (0.5,),
) -> PckCounts:
    """Counts over N people.

    Args:
        predicted, truth (ndarray[N, K, 2]): pixels of the image, with one origin for both. A prediction that is NaN is
            a miss.
        annotated (bool ndarray[N, K]): joints that count.
        heads (ndarray[N]): head sizes in pixels. Where one is 0 everything misses.
    """
    for name, array, shape in (
        ("predicted", predicted, truth.shape),
        ("annotated", annotated, truth.shape[:2]),
        ("heads", heads, truth.shape[:1]),
    ):
        if array.shape != shape:
            raise ValueError(f"pckh: expected {name} {list(shape)} like truth, got {list(array.shape)}")
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.linalg.norm(predicted - truth, axis=-1) / heads[:, None]
    hits = (share <= np.asarray(thresholds, dtype=np.float64)[:, None, None]) & annotated
    return PckCounts(gammas=tuple(thresholds), hits=hits.sum(axis=1), counted=annotated.sum(axis=0))
